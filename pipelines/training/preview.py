"""Audio to listen to while a model trains: reconstructions of held-out audio, or samples from fixed prompts.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...core.configured import ConfiguredModel
from ...core.extras import is_installed
from ...core.files import atomic_path
from ...core.random import keyed_generator
from ...generators.base import LatentGenerator
from ...tokenizers.base import AudioTokenizer
from ..data.audio.spectrogram import spectrogram_png
from ..data.audio.write import write_audio
from .audio_data import AudioCrops
from .build import Task
from .callbacks import SharedCallback
from .config import PreviewConfig
from .environment import Processes
from .log import MetricsLog
from .samples import decode_streams, draw_streams

SEED = 0  # of the noise, which is the same in every preview


@dataclass(frozen=True, kw_only=True)
class Preview:
    """One item: what is written of it."""

    audio: dict[str, Tensor]  # file name without suffix -> [C, N]
    streams: dict[str, Tensor]  # latents [T, D] or tokens [T', Q] of a sample


class Previews(SharedCallback):
    """Writes wav files to `OUTPUT/previews/STEP/` and to the trackers, and spectrograms if matplotlib is installed.

    The processes share the items.

    Args:
        config: what is written.
        task: the held-out audio that a codec reconstructs, or the tokenizer that decodes the samples of a generator.
        output: folder of the run.
        every: optimizer steps between two previews.
    """

    def __init__(self, config: PreviewConfig, task: Task, output: Path, every: int):
        self.config, self.task, self.output, self.every = config, task, output, every

    @torch.no_grad()
    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog | None, processes: Processes) -> None:
        if isinstance(model, AudioTokenizer):
            rate, num = model.spec.sample_rate, self._num_files()
            mine = [self._reconstruction(model, number) for number in processes.share(num)]
        else:
            assert isinstance(model, LatentGenerator)
            rate, num = model.binding.spec.sample_rate, len(self.config.prompts)
            mine = [self._sample(model, number) for number in processes.share(num)]
        made = processes.gather(mine)
        if log is not None:
            self._write(step, made, rate, log)

    def _write(self, step: int, made: list[Preview], rate: int, log: MetricsLog) -> None:
        from safetensors.torch import save_file

        folder = self.output / "previews" / f"{step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        if any(preview.streams for preview in made):
            names = made[0].streams
            with atomic_path(folder / "samples.safetensors") as part:
                save_file({name: torch.stack([preview.streams[name] for preview in made]) for name in names}, part)
        for name, audio in [pair for preview in made for pair in preview.audio.items()]:
            write_audio(folder / f"{name}.wav", audio, rate, subtype="PCM_16")
            if is_installed("matplotlib"):
                spectrogram_png(folder / f"{name}.png", audio, rate)
            log.audio(step, f"preview/{name}", audio, rate)

    def _held_out(self) -> AudioCrops:
        examples = self.task.held_out or self.task.examples
        assert isinstance(examples, AudioCrops)
        return examples

    def _num_files(self) -> int:
        return min(self.config.num, len(self._held_out().store.items))

    def _reconstruction(self, model: AudioTokenizer, number: int) -> Preview:
        """Returns an original and its reconstruction."""
        store, rate = self._held_out().store, model.spec.sample_rate
        index = number * len(store.items) // self.config.num  # spread over the files
        length = min(int(store.lengths[index]), round(self.config.seconds * rate))
        audio, generator = store.read(index, 0, length), keyed_generator(SEED, number)
        decoded = model.decode_encoded(model.encode(audio[None], rate), generator=generator, **self.config.options)
        named = {f"{number:02d}-original": audio, f"{number:02d}-decoded": decoded[0].float().cpu()}
        return Preview(audio=named, streams={})

    def _sample(self, model: LatentGenerator, number: int) -> Preview:
        """Returns a sample's stream, and its audio if a tokenizer is there to decode it."""
        config, generator = self.config, keyed_generator(SEED, number)
        labels = [config.labels[number]] if config.labels else None
        made = draw_streams(model, [config.prompts[number]], labels, config.seconds, config.options, generator)
        streams = {"latents": made.latents, "tokens": made.tokens}
        found = {name: x[0].cpu().contiguous() for name, x in streams.items() if x is not None}
        audio = {}
        if self.task.tokenizer is not None:
            audio[f"{number:02d}"] = decode_streams(self.task.tokenizer, made, generator)[0]
        return Preview(audio=audio, streams=found)
