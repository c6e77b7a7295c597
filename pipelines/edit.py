"""Edits a recording with a generator: `latentune edit` as a function."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from ..core.compute import ComputeConfig
from ..core.config import config_to_dict, option
from ..core.files import file_sha256, write_json
from .data.audio.read import read_audio
from .data.audio.write import write_audio
from .generation.load import load_pipeline
from .generation.options import sampling_options
from .generation.pipeline import AudioOutput, GenerationPipeline

logger = logging.getLogger(__name__)

RECORDED = "audio_sha256"  # key of the record of an edit


@dataclass(frozen=True, kw_only=True)
class EditConfig(ComputeConfig):
    """The options of `latentune edit`: one of replace, extend, vary and loop."""

    audio: str = option(help="Audio file to edit.", positional=True)
    output: str = option(
        help="File for the edited audio, .wav or .flac; its record (.json) lies next to it.", positional=True
    )
    pipeline: str = option(
        help="Pipeline to edit with: a shipped name, a pipeline folder, a training run, or a checkpoint."
    )
    replace: tuple[str, ...] = option(
        (),
        "Region start:end in seconds that is sampled again, such as 2.0:3.5; repeat it for several. By default none.",
    )
    extend: float | None = option(None, "Seconds by which the audio is continued. By default it is not.")
    vary: float | None = option(
        None, "Strength of a variation of all of it, above 0 and up to 1. By default none is made."
    )
    loop: bool = option(False, "Make a loop: the end is sampled again, so that it leads to the start.")
    join_s: float = option(1.0, "Seconds at the end that are sampled again for a loop.")
    prompt: str = option("", "Text to sample from. By default the edit is unprompted.", short="p")
    seed: int = option(0, "Seed of all noise. The same seed repeats the edit.")
    options: dict[str, Any] = option(
        factory=dict,
        help="Option of the generator's own sampling, such as steps=20 or temperature=0.9.",
        short="o",
        name="option",
    )
    tokenizer: str | None = option(
        None, "Tokenizer to use, where the pipeline does not name one: a shipped name, a folder, or a hub id."
    )
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = option("PCM_24", "Sample format of the file.")

    def __post_init__(self) -> None:
        asked = [name for name in ("replace", "extend", "vary", "loop") if getattr(self, name) not in ((), None, False)]
        if len(asked) != 1:
            raise ValueError(f"choose one of replace, extend, vary and loop, got {', '.join(asked) or 'none'}")
        if self.seed < 0:
            raise ValueError(f"seed must be at least 0, got {self.seed}")
        if Path(self.output).suffix.lower() not in (".wav", ".flac"):
            raise ValueError(f"output must be a .wav or .flac file, got {self.output}")
        if Path(self.output).absolute() == Path(self.audio).absolute():
            raise ValueError(f"{self.output} is the recording itself: choose another file for the edited audio")
        self.regions()  # refuses a text that is not a region

    def regions(self) -> list[tuple[float, float]]:
        """Returns the regions in seconds; raises ValueError for a text that is none."""
        found = []
        for text in self.replace:
            start, _, stop = text.partition(":")
            try:
                found.append((float(start), float(stop)))
            except ValueError as error:
                raise ValueError(f"replace: {text!r} is not start:end in seconds, such as 2.0:3.5") from error
        return found


def edit_audio(config: EditConfig, *, pipeline: GenerationPipeline | None = None) -> dict[str, Any]:
    """Edits one file and writes the result, with a record of what is needed to repeat it.

    Args:
        config: what to edit, and how.
        pipeline: a loaded pipeline, in place of `config.pipeline`.

    Returns:
        The record.

    Raises:
        ValueError: regions outside of the audio, an edit that the generator cannot make, or an output that is there
            and was not written by an edit.
        CheckpointError, MismatchError, AudioError: something cannot be loaded.
        OSError: the file cannot be written.
    """
    output = Path(config.output)
    if not output.absolute().parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(output.absolute().parent))
    _refuse_stranger(output)
    audio, rate = read_audio(config.audio)
    if pipeline is None:
        pipeline = load_pipeline(config.pipeline, tokenizer=config.tokenizer)
        config.prepare(pipeline.tokenizer, pipeline.generator)
    options = sampling_options(config.options, type(pipeline.generator))
    call = {"prompt": config.prompt, "generator": torch.Generator().manual_seed(config.seed), **options}
    if config.replace:
        result = pipeline.inpaint(audio, rate, regions=config.regions(), **call)
    elif config.extend is not None:
        result = pipeline.continue_(audio, rate, extra_s=config.extend, **call)
    elif config.vary is not None:
        result = pipeline.vary(audio, rate, strength=config.vary, decode=False, **call)
    else:
        result = pipeline.loop(audio, rate, join_s=config.join_s, **call)
    return _write(config, pipeline, result)


def _refuse_stranger(output: Path) -> None:
    """Raises ValueError if there is a file already that no edit has written, or a record of something else."""
    record = output.with_suffix(".json")
    try:
        is_ours = RECORDED in json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        is_ours = False
    if not is_ours and (found := [path for path in (output, record) if path.exists()]):
        raise ValueError(f"{found[0]} is there and was not written by an edit: choose another file, or remove it")


def _write(config: EditConfig, pipeline: GenerationPipeline, result: AudioOutput) -> dict[str, Any]:
    output = Path(config.output)
    write_audio(output, result.pieces(0), result.sample_rate, config.subtype)
    record = {
        **config_to_dict(config),
        RECORDED: file_sha256(Path(config.audio)),
        "sample_rate": result.sample_rate,
        "channels": pipeline.spec.channels,
        "seconds": int(result.lengths_samples[0]) / result.sample_rate,
        "generator_fingerprint": pipeline.generator.fingerprint(),
        "tokenizer_fingerprint": pipeline.fingerprint,
    }
    write_json(output.with_suffix(".json"), record)
    logger.info("wrote %s", output)
    return record
