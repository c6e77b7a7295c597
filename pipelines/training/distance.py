"""The distance of a generator's samples from real audio, at intervals of its training.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import torch
from torch import Tensor

from ...core.configured import ConfiguredModel
from ...generators.base import LatentGenerator
from ...tokenizers.base import AudioTokenizer
from .config import FadConfig
from .log import MetricsLog
from .samples import decode_streams, draw_streams

Distance = Callable[[Iterable[Tensor], int], dict[str, float]]  # (audio [C, N] of each sample, rate in Hz) -> figures

SEED = 0  # of the samples' noise, which is the same at every measurement


class SampleDistance:
    """A `Callback` that samples, decodes, and hands the audio to `distance`; its figures are logged as `valid_...`.

    Args:
        config: what to sample.
        tokenizer: the codec that decodes the samples.
        distance: measures the audio of all samples. It comes from outside: training does not import evaluation.
        every: optimizer steps between two measurements.
    """

    def __init__(self, config: FadConfig, tokenizer: AudioTokenizer, distance: Distance, every: int):
        self.config, self.tokenizer, self.distance, self.every = config, tokenizer, distance, every

    @torch.no_grad()
    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog) -> None:
        figures = self.distance(self._samples(cast(LatentGenerator, model)), self.tokenizer.spec.sample_rate)
        log.write(step, {f"valid_{name}": value for name, value in figures.items()})

    def _samples(self, model: LatentGenerator) -> Iterator[Tensor]:
        """Yields the audio [C, N] of each sample; prompts and labels are taken in turn."""
        config, generator = self.config, torch.Generator().manual_seed(SEED)
        for begin in range(0, config.num, config.batch_size):
            numbers = range(begin, min(begin + config.batch_size, config.num))
            prompts = [config.prompts[number % len(config.prompts)] for number in numbers]
            labels = [config.labels[number % len(config.labels)] for number in numbers] if config.labels else None
            made = draw_streams(model, prompts, labels, config.seconds, config.options, generator)
            # a model in its first steps may give NaN or inf
            yield from (torch.nan_to_num(audio) for audio in decode_streams(self.tokenizer, made, generator))
