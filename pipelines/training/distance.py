"""The distance of a generator's samples from real audio, at intervals of its training.

Shape letters: C audio channels, N audio samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import torch
from torch import Tensor

from ...core.configured import ConfiguredModel
from ...core.random import keyed_generator
from ...generators.base import LatentGenerator
from ...tokenizers.base import AudioTokenizer
from .callbacks import SharedCallback
from .config import FadConfig
from .environment import Processes
from .log import MetricsLog
from .samples import decode_streams, draw_streams

Distance = Callable[[Iterable[Tensor], int], dict[str, float]]  # (audio [C, N] of each sample, rate in Hz) -> figures

SEED = 0  # of the samples' noise, which is the same at every measurement


class SampleDistance(SharedCallback):
    """Samples, decodes, and hands the audio to `distance`, whose figures are logged as `valid_...`.

    The processes share the samples, batch by batch.

    Args:
        config: what to sample.
        tokenizer: the codec that decodes the samples.
        distance: measures the audio of all samples, in the main process; None in the others. It comes from outside:
            training does not import evaluation.
        every: optimizer steps between two measurements.
    """

    def __init__(self, config: FadConfig, tokenizer: AudioTokenizer, distance: Distance | None, every: int):
        self.config, self.tokenizer, self.distance, self.every = config, tokenizer, distance, every

    @torch.no_grad()
    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog | None, processes: Processes) -> None:
        num_batches = -(-self.config.num // self.config.batch_size)
        made = [self._batch(cast(LatentGenerator, model), number) for number in processes.share(num_batches)]
        batches = processes.gather(made)
        if log is not None and self.distance is not None:
            audios = (audio for batch in batches for audio in batch)
            figures = self.distance(audios, self.tokenizer.spec.sample_rate)
            log.write(step, {f"valid_{name}": value for name, value in figures.items()})

    def _batch(self, model: LatentGenerator, number: int) -> list[Tensor]:
        """Returns the audio [C, N] of each sample of a batch; prompts and labels are taken in turn."""
        config, generator = self.config, keyed_generator(SEED, number)
        items = range(number * config.batch_size, min((number + 1) * config.batch_size, config.num))
        prompts = [config.prompts[item % len(config.prompts)] for item in items]
        labels = [config.labels[item % len(config.labels)] for item in items] if config.labels else None
        made = draw_streams(model, prompts, labels, config.seconds, config.options, generator)
        # a model in its first steps may give NaN or inf
        return [torch.nan_to_num(audio) for audio in decode_streams(self.tokenizer, made, generator)]
