"""Samples prompts to a folder of audio: `latentune sample` as a function."""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..core.config import config_to_dict
from ..core.errors import ConfigError
from ..core.extras import import_extra
from ..core.figures import can_draw
from ..core.files import file_sha256, write_json
from ..core.outputs import slug
from ..tokenizers.inputs import check_decode_options
from .data.audio.read import read_audio
from .data.audio.record import RecordedFolder
from .data.audio.write import write_audio
from .data.shards.dataset_files import refuse_dataset
from .generation.load import build_pipeline, load_pipeline
from .generation.options import sampling_options
from .generation.pipeline import AudioOutput, GenerationPipeline
from .generation.prompts import PromptLine, read_prompts
from .generation.requests import Request
from .generation.sample_config import SampleConfig

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
Progress = Callable[[int, int], None]


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
    request = Request(config)
    draw = _draws_spectrograms(config)
    if pipeline is None:
        adapters = adapter_weights(config.adapters)
        pipeline = load_pipeline(config.pipeline, tokenizer=config.tokenizer, adapters=adapters)
        config.prepare(pipeline.tokenizer, pipeline.generator)
    options = sampling_options(config.options, type(pipeline.generator))
    check_decode_options(pipeline.tokenizer, config.decode_options)
    todo = [line for line in request.lines for _ in range(config.num)]
    request.check(pipeline)
    names = [f"{number:03d}_{slug(line.text)}" for number, line in enumerate(todo)]
    suffixes = ("wav", "png", "json") if draw else ("wav", "json")
    # last: a wrong request leaves no folder behind
    refuse_dataset(config.output)
    folder = RecordedFolder(config.output, "sample.json", [f"{name}.{suffix}" for name in names for suffix in suffixes])
    facts = _facts(config, pipeline, options)
    records: list[dict[str, Any]] = []
    asked = "say" if config.says else "prompt"
    for start in range(0, len(todo), config.batch_size):
        batch, seed = todo[start : start + config.batch_size], config.seed + start
        call = request.call(batch, pipeline)
        result = request.sample(
            call,
            pipeline,
            generator=torch.Generator().manual_seed(seed),
            decode_options=config.decode_options,
            **options,
        )
        if not records:  # only now: a request that the generator refuses leaves no record of files that do not exist
            folder.begin(config_to_dict(config))
        for row, line in enumerate(batch):
            name = names[start + row]
            record = {"file": f"{name}.wav", **facts, asked: line.text, "seed": seed, "row": row, "call": call}
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
        ConfigError: a weight that is not a number, or an adapter that is given twice.
    """
    found = {}
    for text in texts:
        folder, _, weight = text.rpartition("=") if "=" in text else (text, "", "1")
        if folder in found:
            raise ConfigError(f"adapter {folder} is given twice: give it once, with one weight")
        try:
            found[folder] = float(weight)
        except ValueError as error:
            raise ConfigError(f"adapter {text!r}: {weight!r} is not a weight; write FOLDER=0.8") from error
    return found


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
