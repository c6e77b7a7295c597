"""What a run sounds like: reconstructions of held-out audio, or samples from fixed prompts."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from ...core.configured import ConfiguredModel
from ...core.extras import is_installed
from ...core.files import atomic_path
from ...generators.base import Conditions, LatentGenerator
from ...tokenizers.base import AudioTokenizer
from ..data.audio.spectrogram import spectrogram_png
from ..data.audio.write import write_audio
from .audio_data import AudioCrops
from .build import Task
from .config import PreviewConfig
from .log import MetricsLog

logger = logging.getLogger(__name__)


def write_previews(
    task: Task, model: ConfiguredModel, config: PreviewConfig, folder: Path, step: int, log: MetricsLog
) -> None:
    """Writes what `model`, which is in eval mode, makes to `folder`, with the same noise each time.

    These are wav files, and their spectrograms where matplotlib is installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    if isinstance(model, AudioTokenizer):
        _reconstruct(task, model, config, folder, step, log, generator)
    elif isinstance(model, LatentGenerator):
        _sample(task, model, config, folder, step, log, generator)


def _reconstruct(
    task: Task,
    model: AudioTokenizer,
    config: PreviewConfig,
    folder: Path,
    step: int,
    log: MetricsLog,
    generator: torch.Generator,
) -> None:
    examples = task.held_out or task.examples
    assert isinstance(examples, AudioCrops)
    store, rate = examples.store, model.spec.sample_rate
    for number in range(min(config.num, len(store.items))):
        index = number * len(store.items) // config.num  # spread over the files
        length = min(int(store.lengths[index]), round(config.seconds * rate))
        audio = store.read(index, 0, length)
        encoded = model.encode(audio[None], rate)
        decoded = model.decode_encoded(encoded, generator=generator, **config.options)
        _write(folder, f"{number:02d}-original", audio, rate, step, log)
        _write(folder, f"{number:02d}-decoded", decoded[0].float().cpu(), rate, step, log)


def _sample(
    task: Task,
    model: LatentGenerator,
    config: PreviewConfig,
    folder: Path,
    step: int,
    log: MetricsLog,
    generator: torch.Generator,
) -> None:
    from safetensors.torch import save_file

    rate = model.binding.spec.sample_rate
    lengths = torch.full((len(config.prompts),), round(config.seconds * rate))
    conditions = Conditions.of(config.prompts, config.seconds, config.labels or None)
    made = model.sample(conditions, lengths, generator=generator, **config.options)
    streams = {"latents": made.latents, "tokens": made.tokens}
    tensors = {name: value.cpu().contiguous() for name, value in streams.items() if value is not None}
    with atomic_path(folder / "samples.safetensors") as part:
        save_file(tensors, part)
    if task.tokenizer is None:
        return
    audio = task.tokenizer.decode(**tensors, lengths_samples=made.lengths_samples, generator=generator)
    for number, one in enumerate(audio):
        _write(folder, f"{number:02d}", one[:, : int(made.lengths_samples[number])].float().cpu(), rate, step, log)


def _write(folder: Path, name: str, audio: Tensor, sample_rate: int, step: int, log: MetricsLog) -> None:
    write_audio(folder / f"{name}.wav", audio, sample_rate, subtype="PCM_16")
    if is_installed("matplotlib"):
        spectrogram_png(folder / f"{name}.png", audio, sample_rate)
    log.audio(step, f"preview/{name}", audio, sample_rate)
