"""Audio to listen to while a model trains: reconstructions of held-out audio, or samples from fixed prompts.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...core.configured import ConfiguredModel
from ...core.extras import is_installed
from ...core.files import atomic_path
from ...generators.base import LatentGenerator
from ...tokenizers.base import AudioTokenizer
from ..data.audio.spectrogram import spectrogram_png
from ..data.audio.write import write_audio
from .audio_data import AudioCrops
from .build import Task
from .config import PreviewConfig
from .log import MetricsLog
from .samples import decode_streams, draw_streams

SEED = 0  # of the noise, which is the same in every preview


class Previews:
    """A `Callback` that writes wav files to `OUTPUT/previews/STEP/` and to TensorBoard, and spectrograms if matplotlib
    is installed.

    Args:
        config: what is written.
        task: the held-out audio that a codec reconstructs, or the tokenizer that decodes the samples of a generator.
        output: folder of the run.
        every: optimizer steps between two previews.
    """

    def __init__(self, config: PreviewConfig, task: Task, output: Path, every: int):
        self.config, self.task, self.output, self.every = config, task, output, every

    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog) -> None:
        folder = self.output / "previews" / f"{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(model, AudioTokenizer):
            found, rate = self._reconstructions(model), model.spec.sample_rate
        else:
            assert isinstance(model, LatentGenerator)
            found, rate = self._samples(model, folder), model.binding.spec.sample_rate
        for name, audio in found:
            write_audio(folder / f"{name}.wav", audio, rate, subtype="PCM_16")
            if is_installed("matplotlib"):
                spectrogram_png(folder / f"{name}.png", audio, rate)
            log.audio(step, f"preview/{name}", audio, rate)

    def _reconstructions(self, model: AudioTokenizer) -> Iterator[tuple[str, Tensor]]:
        """Yields names and audio [C, N]: originals, each followed by its reconstruction."""
        examples, generator = self.task.held_out or self.task.examples, torch.Generator().manual_seed(SEED)
        assert isinstance(examples, AudioCrops)
        store, rate = examples.store, model.spec.sample_rate
        for number in range(min(self.config.num, len(store.items))):
            index = number * len(store.items) // self.config.num  # spread over the files
            length = min(int(store.lengths[index]), round(self.config.seconds * rate))
            audio = store.read(index, 0, length)
            decoded = model.decode_encoded(model.encode(audio[None], rate), generator=generator, **self.config.options)
            yield f"{number:02d}-original", audio
            yield f"{number:02d}-decoded", decoded[0].float().cpu()

    def _samples(self, model: LatentGenerator, folder: Path) -> Iterator[tuple[str, Tensor]]:
        """Writes the samples' streams to `folder`; yields names and audio [C, N] if a tokenizer is there to decode."""
        from safetensors.torch import save_file

        config, generator = self.config, torch.Generator().manual_seed(SEED)
        made = draw_streams(model, config.prompts, config.labels or None, config.seconds, config.options, generator)
        streams = {"latents": made.latents, "tokens": made.tokens}
        with atomic_path(folder / "samples.safetensors") as part:
            save_file({name: x.cpu().contiguous() for name, x in streams.items() if x is not None}, part)
        if self.task.tokenizer is not None:
            for number, audio in enumerate(decode_streams(self.task.tokenizer, made, generator)):
                yield f"{number:02d}", audio
