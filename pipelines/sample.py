"""Prompts in, a folder of audio out: what `latentune sample` does."""

from __future__ import annotations

import inspect
import json
import logging
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.config import config_to_dict, nearest_hint, option
from ..core.device import pick_device
from ..core.errors import ConfigError
from ..core.extras import import_extra
from ..core.figures import can_draw
from ..core.files import file_sha256, write_json
from ..core.outputs import prepare_output, slug
from ..generators.base import LatentGenerator
from ..tokenizers.inputs import check_decode_options
from .data.audio.read import read_audio
from .data.audio.write import write_audio
from .generation.load import build_pipeline, load_pipeline
from .generation.pipeline import AudioOutput, GenerationPipeline

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


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What `latentune sample` takes."""

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
        None, "File of prompts: .txt with one prompt per line, or .jsonl of objects with text, label and seconds."
    )
    label: str | None = option(None, "Class label of all prompts that have none of their own.")
    seconds: float | None = option(None, "Length of each sample in seconds. By default the pipeline's own length.")
    num: int = option(1, "Number of samples per prompt.")
    seed: int = option(0, "Seed of the first batch; each later batch adds its offset. The same seed repeats a sample.")
    batch_size: int = option(4, "Number of samples that are computed at once. A sample depends on it.")
    steps: int | None = option(None, "Number of sampling steps of a diffusion generator.")
    guidance: float | None = option(None, "Scale of classifier-free guidance; 1 turns guidance off.")
    temperature: float | None = option(None, "Temperature of a language generator; lower values are more predictable.")
    top_k: int | None = option(None, "Number of most likely tokens that a language generator draws from.")
    top_p: float | None = option(None, "Share of probability that a language generator draws from (nucleus sampling).")
    continue_from: str | None = option(None, "Audio file that every sample begins with.")
    options: dict[str, Any] = option(factory=dict, help="Further options of the generator.", short="o", name="option")
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
    device: str = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1 and so on.")

    def __post_init__(self) -> None:
        for name, least in (("num", 1), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds must be a positive number, got {self.seconds}")


@dataclass(frozen=True, kw_only=True)
class PromptLine:
    """One prompt and what it brings with it."""

    text: str
    label: str | None = None
    seconds: float | None = None


def sample_to_folder(
    config: SampleConfig, *, pipeline: GenerationPipeline | None = None, progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Sample every prompt and write `000_a-prompt.wav`, `.png` and `.json` for each sample.

    Each JSON holds what is needed to make the sample again; `sample.json` holds the config of the whole call. Files
    of an earlier call that have the same name are replaced.

    Args:
        pipeline: one that is loaded already, in place of `config.pipeline`.
        progress: called with (samples done, samples in all).

    Returns:
        The contents of the JSON files, in order.

    Raises:
        ValueError: no prompts in the file, an option the generator does not have, an unknown label.
        CheckpointError, MismatchError, AudioError: what cannot be loaded.
        MissingPackageError: spectrograms are asked for and matplotlib is not installed.
        OSError: the output folder cannot be written to; found out before anything is sampled.
    """
    lines = read_prompts(config)
    draw = _draws_spectrograms(config)
    prefix = None if config.continue_from is None else read_audio(config.continue_from)
    if pipeline is None:
        pipeline = load_pipeline(config.pipeline, tokenizer=config.tokenizer, device=pick_device(config.device))
    options = _generator_options(config, pipeline)
    check_decode_options(pipeline.tokenizer, config.decode_options)
    output = prepare_output(config.output)  # last: a wrong request leaves no folder behind
    write_json(output / "sample.json", config_to_dict(config))
    facts = _facts(config, pipeline, options)
    todo = [line for line in lines for _ in range(config.num)]
    records: list[dict[str, Any]] = []
    for start in range(0, len(todo), config.batch_size):
        batch, seed = todo[start : start + config.batch_size], config.seed + start
        call = _call_arguments(batch, config, pipeline)
        result = pipeline(
            **call,
            generator=torch.Generator().manual_seed(seed),
            continue_from=prefix,
            decode_options=config.decode_options,
            **options,
        )
        for row, line in enumerate(batch):
            name = f"{start + row:03d}_{slug(line.text)}"
            record = {"file": f"{name}.wav", **facts, "prompt": line.text, "seed": seed, "row": row, "call": call}
            _write_sample(output / name, result.item(row), result.sample_rate, record, config.subtype, draw)
            records.append(record)
            logger.info("wrote %s", output / f"{name}.wav")
        if progress is not None:
            progress(len(records), len(todo))
    return records


def read_prompts(config: SampleConfig) -> list[PromptLine]:
    """The prompts of a config: its own, then those of its file. Blank lines of the file are no prompts.

    Raises:
        ValueError: a line that is not a prompt (named), a file with none, or one of another kind.
        OSError: the file cannot be read.
    """
    lines = [PromptLine(text=text) for text in config.prompts]
    if config.prompts_file is not None:
        path = Path(config.prompts_file)
        if path.suffix.lower() not in (".txt", ".jsonl"):
            raise ValueError(f"prompts file {path}: use .txt (a prompt a line) or .jsonl (objects with a text)")
        try:
            rows = list(enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1))
        except UnicodeDecodeError as error:
            raise ValueError(f"prompts file {path} is not UTF-8 text ({error.reason})") from error
        parse = _json_prompt if path.suffix.lower() == ".jsonl" else _text_prompt
        found = [parse(text, f"{path}, line {number}") for number, text in rows if text.strip()]
        if not found:
            raise ValueError(f"prompts file {path} holds no prompt")
        lines += found
    return lines or [PromptLine(text="")]


def _text_prompt(text: str, where: str) -> PromptLine:
    return PromptLine(text=text.strip())


def _json_prompt(text: str, where: str) -> PromptLine:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error})") from error
    if not isinstance(row, dict) or not isinstance(prompt := row.get("text", row.get("prompt")), str):
        raise ValueError(f'{where}: expected an object with a text, such as {{"text": "calm piano"}}')
    label, seconds = row.get("label"), row.get("seconds")
    if not (label is None or isinstance(label, str)):
        raise ValueError(f"{where}: label is {label!r}, not a text")
    if not (seconds is None or (isinstance(seconds, (int, float)) and 0 < seconds < math.inf)):
        raise ValueError(f"{where}: seconds is {seconds!r}, not a positive number")
    return PromptLine(text=prompt, label=label, seconds=seconds)


def _generator_options(config: SampleConfig, pipeline: GenerationPipeline) -> dict[str, Any]:
    """The given options under the generator's own names; raises ConfigError for one that it does not have."""
    name = type(pipeline.generator).__name__
    common = set(inspect.signature(LatentGenerator.sample).parameters)
    known = [p for p in inspect.signature(pipeline.generator.sample).parameters if p not in common]
    if unknown := [key for key in config.options if key not in known]:
        raise ConfigError(f"{unknown[0]} is no option of a {name}: {nearest_hint(unknown[0], known)}")
    diffusion = {"num_inference_steps": ("steps", config.steps)}
    language = {key: (key, getattr(config, key)) for key in ("temperature", "top_k", "top_p")}
    mine, other = (diffusion, language) if pipeline.generator.stream == "latents" else (language, diffusion)
    if wrong := [key for key, value in other.values() if value is not None]:
        has = ", ".join(key for key, _ in mine.values())
        raise ConfigError(f"{', '.join(wrong)} is no option of a {name}: it has {has} and guidance")
    return {**config.options, **{key: value for key, (_, value) in mine.items() if value is not None}}


def _call_arguments(batch: list[PromptLine], config: SampleConfig, pipeline: GenerationPipeline) -> dict[str, Any]:
    default_s = pipeline.defaults.duration_s if config.seconds is None else config.seconds
    guidance = pipeline.defaults.guidance_scale if config.guidance is None else config.guidance
    return {
        "prompt": [line.text for line in batch],
        "labels": [config.label if line.label is None else line.label for line in batch],
        "duration_s": [default_s if line.seconds is None else line.seconds for line in batch],
        "guidance_scale": guidance,
    }


def _facts(config: SampleConfig, pipeline: GenerationPipeline, options: dict[str, Any]) -> dict[str, Any]:
    """What all samples of a call share, for their JSON."""
    source = None
    if config.continue_from is not None:
        path = Path(config.continue_from).absolute()
        source = {"path": str(path), "sha256": file_sha256(path)}
    return {
        "pipeline": config.pipeline,
        "tokenizer": {"class": type(pipeline.tokenizer).__name__, "fingerprint": pipeline.fingerprint},
        "generator": {"class": type(pipeline.generator).__name__, "fingerprint": pipeline.generator.fingerprint()},
        "options": {**pipeline.defaults.sample, **options},
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
    stem: Path, audio: Tensor, sample_rate: int, record: dict[str, Any], subtype: str, draw: bool
) -> None:
    """The JSON comes last: where it is, the other files are whole."""
    write_audio(stem.with_name(f"{stem.name}.wav"), audio, sample_rate, subtype)
    if draw:
        from .data.audio.spectrogram import spectrogram_png

        spectrogram_png(stem.with_name(f"{stem.name}.png"), audio, sample_rate)
    write_json(stem.with_name(f"{stem.name}.json"), record)
