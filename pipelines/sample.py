"""Samples prompts to a folder of audio: `latentune sample` as a function."""

from __future__ import annotations

import logging
import math
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.compute import ComputeConfig
from ..core.config import config_to_dict, option
from ..core.errors import ConfigError
from ..core.extras import import_extra
from ..core.figures import can_draw
from ..core.files import file_sha256, write_json
from ..core.outputs import slug
from ..generators.conditions import Conditions
from ..tokenizers.inputs import check_decode_options
from .data.audio.read import read_audio
from .data.audio.record import RecordedFolder
from .data.audio.write import write_audio
from .data.shards.read import refuse_dataset
from .generation.load import build_pipeline, load_pipeline
from .generation.options import sampling_options
from .generation.pipeline import AudioOutput, GenerationPipeline
from .generation.prompts import PromptLine, read_prompts

__all__ = [
    "AudioOutput",
    "GenerationPipeline",
    "PromptLine",
    "SampleConfig",
    "build_pipeline",
    "load_pipeline",
    "read_prompts",
    "sample_to_folder",
]

logger = logging.getLogger(__name__)

PACKAGES = ("latentune", "torch", "diffusers", "x-transformers", "numpy")  # whose versions can change a sample
FILE = "file:"  # before the path of a recording that is the value of a condition
Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class SampleConfig(ComputeConfig):
    """The options of `latentune sample`."""

    pipeline: str = option(
        help="Pipeline to sample from: a shipped name, a pipeline folder, a training run, or a checkpoint.",
        positional=True,
    )
    output: str = option(help="Folder for the audio.", positional=True)
    prompts: tuple[str, ...] = option(
        (),
        "Text to sample from; repeat it for several. Without a prompt and a prompts file, the samples are unprompted.",
        name="prompt",
        short="p",
    )
    prompts_file: str | None = option(
        None,
        "File of prompts: .txt with one per line, or .jsonl of objects with text, label, seconds and conditions.",
    )
    label: str | None = option(None, "Class label of all prompts that have none of their own.")
    adapters: tuple[str, ...] = option(
        (), "Adapter of the generator and perhaps its weight, such as runs/lora=0.8; several add up.", name="adapter"
    )
    conditions: dict[str, Any] = option(
        factory=dict,
        help="Further condition of all prompts that have none of their own, such as bpm=120. A condition that takes "
        "audio reads a file: style=file:PATH.",
        name="condition",
    )
    seconds: float | None = option(None, "Length of each sample in seconds. By default the pipeline's own length.")
    seconds_start: float | None = option(
        None, "Where in its recording each sample starts, in seconds. By default the median of the training data."
    )
    seconds_total: float | None = option(
        None, "Length in seconds of the recording that each sample is part of. By default the median in training."
    )
    num: int = option(1, "Number of samples per prompt.")
    seed: int = option(0, "Seed of the first batch; each later batch adds its offset. The same seed repeats a sample.")
    batch_size: int = option(4, "Number of samples that are computed at once. A sample depends on it.")
    continue_from: str | None = option(None, "Audio file that every sample begins with.")
    options: dict[str, Any] = option(
        factory=dict,
        help="Option of the generator's own sampling, such as steps=20 or temperature=0.9.",
        short="o",
        name="option",
    )
    decode_options: dict[str, Any] = option(
        factory=dict, help="Options of the tokenizer's own `decode`, such as steps=3.", name="decode-option"
    )
    tokenizer: str | None = option(
        None, "Tokenizer to decode with, where the pipeline does not name one: a shipped name, a folder, or a hub id."
    )
    subtype: Literal["PCM_16", "PCM_24", "FLOAT"] = option("PCM_24", "Sample format of the wav files.")
    spectrograms: bool | None = option(
        None, "Write a spectrogram (PNG) with each wav file. By default this is done where matplotlib is installed."
    )

    def __post_init__(self) -> None:
        for name, least in (("num", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds must be a positive number, got {self.seconds}")


def sample_to_folder(
    config: SampleConfig, *, pipeline: GenerationPipeline | None = None, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Samples every prompt and writes `000_a-prompt.wav`, `.png` and `.json` for each sample.

    A sample is written as it is decoded, so that its audio is whole in memory only where a spectrogram is drawn. Each
    JSON holds what is needed to repeat the sample; `sample.json` holds the config of the whole call and lists the
    files. A second call with the same folder replaces the files that the first one lists.

    Args:
        config: what to sample, and where to write it.
        pipeline: a loaded pipeline, in place of `config.pipeline`.
        progress: called with (samples done, samples in all).

    Returns:
        The contents of the JSON files, in order.

    Raises:
        ValueError: no prompts in the file, an option that the generator does not have, a condition that it does not
            have or never saw, or a folder that holds audio of others.
        CheckpointError, MismatchError, AudioError: something cannot be loaded.
        MissingPackageError: spectrograms are asked for and matplotlib is not installed.
        OSError: the output folder cannot be written to; this is checked before anything is sampled.
    """
    lines = read_prompts(config.prompts, config.prompts_file)
    draw = _draws_spectrograms(config)
    prefix = None if config.continue_from is None else read_audio(config.continue_from)
    if pipeline is None:
        adapters = adapter_weights(config.adapters)
        pipeline = load_pipeline(config.pipeline, tokenizer=config.tokenizer, adapters=adapters)
        config.prepare(pipeline.tokenizer, pipeline.generator)
    options = sampling_options(config.options, type(pipeline.generator))
    check_decode_options(pipeline.tokenizer, config.decode_options)
    todo = [line for line in lines for _ in range(config.num)]
    asked = _call_arguments(lines, config, pipeline)
    pipeline.check_conditions(
        Conditions.of(asked["prompt"], asked["duration_s"], asked["labels"]).replaced(
            **_heard(asked["conditions"], pipeline)
        )
    )
    names = [f"{number:03d}_{slug(line.text)}" for number, line in enumerate(todo)]
    suffixes = ("wav", "png", "json") if draw else ("wav", "json")
    # last: a wrong request leaves no folder behind
    refuse_dataset(config.output)
    folder = RecordedFolder(config.output, "sample.json", [f"{name}.{suffix}" for name in names for suffix in suffixes])
    facts = _facts(config, pipeline, options)
    records: list[dict[str, Any]] = []
    for start in range(0, len(todo), config.batch_size):
        batch, seed = todo[start : start + config.batch_size], config.seed + start
        call = _call_arguments(batch, config, pipeline)
        result = pipeline(
            **{**call, "conditions": _heard(call["conditions"], pipeline)},
            generator=torch.Generator().manual_seed(seed),
            given=prefix,
            decode=False,
            decode_options=config.decode_options,
            **options,
        )
        if not records:  # only now: a request that the generator refuses leaves no record of files that do not exist
            folder.begin(config_to_dict(config))
        for row, line in enumerate(batch):
            name = names[start + row]
            record = {"file": f"{name}.wav", **facts, "prompt": line.text, "seed": seed, "row": row, "call": call}
            _write_sample(folder.path / name, result.pieces(row), result.sample_rate, record, config.subtype, draw)
            records.append(record)
            logger.info("wrote %s", folder.path / f"{name}.wav")
        if progress is not None:
            progress(len(records), len(todo))
    folder.finish(config_to_dict(config))
    return records


def adapter_weights(texts: Sequence[str]) -> dict[str, float]:
    """Returns the folder and the weight of each adapter, written `FOLDER` or `FOLDER=WEIGHT`.

    Raises:
        ConfigError: a weight that is not a number.
    """
    found = {}
    for text in texts:
        folder, _, weight = text.rpartition("=") if "=" in text else (text, "", "1")
        try:
            found[folder] = float(weight)
        except ValueError as error:
            raise ConfigError(f"adapter {text!r}: {weight!r} is not a weight; write FOLDER=0.8") from error
    return found


def _call_arguments(batch: list[PromptLine], config: SampleConfig, pipeline: GenerationPipeline) -> dict[str, Any]:
    default_s = pipeline.defaults.duration_s if config.seconds is None else config.seconds
    asked = [{**config.conditions, **line.conditions} for line in batch]
    conditions = {name: [values.get(name) for values in asked] for name in sorted({n for v in asked for n in v})}
    return {
        "prompt": [line.text for line in batch],
        "labels": [config.label if line.label is None else line.label for line in batch],
        "conditions": conditions,
        "duration_s": [default_s if line.seconds is None else line.seconds for line in batch],
        "seconds_start": config.seconds_start,
        "seconds_total": config.seconds_total,
    }


def _heard(conditions: dict[str, list[Any]], pipeline: GenerationPipeline) -> dict[str, list[Any]]:
    """Returns the values with the audio of each `file:PATH` in its place, of those conditions that take audio."""
    encoder = getattr(pipeline.generator, "condition_encoder", None)
    takes = {name for name, part in encoder.conditioners.items() if part.takes_audio} if encoder is not None else set()
    return {
        name: [_read(value) for value in values] if name in takes else values for name, values in conditions.items()
    }


def _read(value: Any) -> Any:
    is_file = isinstance(value, str) and value.startswith(FILE)
    return read_audio(value.removeprefix(FILE)) if is_file else value


def _facts(config: SampleConfig, pipeline: GenerationPipeline, options: dict[str, Any]) -> dict[str, Any]:
    """Returns what all samples of a call share, for their JSON."""
    source = None
    if config.continue_from is not None:
        path = Path(config.continue_from).absolute()
        source = {"path": str(path), "sha256": file_sha256(path)}
    return {
        "pipeline": config.pipeline,
        "adapters": adapter_weights(config.adapters),
        "tokenizer": {"class": type(pipeline.tokenizer).__name__, "fingerprint": pipeline.fingerprint},
        "generator": {"class": type(pipeline.generator).__name__, "fingerprint": pipeline.generator.fingerprint()},
        "options": {"guidance_scale": pipeline.defaults.guidance_scale, **pipeline.defaults.sample, **options},
        "decode_options": {**pipeline.defaults.decode, **config.decode_options},
        "continue_from": source,
        "device": str(pipeline.device),
        "dtype": str(pipeline.generator.dtype).removeprefix("torch."),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def _draws_spectrograms(config: SampleConfig) -> bool:
    """Returns whether to draw them: as asked, or by default where matplotlib is installed."""
    if config.spectrograms:
        import_extra("matplotlib.figure", "report", "spectrograms=true")
    return can_draw("spectrograms") if config.spectrograms is None else config.spectrograms


def _write_sample(
    stem: Path, pieces: Iterator[Tensor], sample_rate: int, record: dict[str, Any], subtype: str, draw: bool
) -> None:
    """Writes one sample as it is decoded. The JSON comes last: where it is, the other files are whole."""
    wav = stem.with_name(f"{stem.name}.wav")
    write_audio(wav, pieces, sample_rate, subtype)
    if draw:
        from .data.audio.spectrogram import spectrogram_png

        spectrogram_png(stem.with_name(f"{stem.name}.png"), *read_audio(wav))
    write_json(stem.with_name(f"{stem.name}.json"), record)
