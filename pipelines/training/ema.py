"""Averaged weights."""

from __future__ import annotations

import copy

import torch

from ...core.configured import ConfiguredModel
from .sharding import Whole, share_of


class AveragedModel:
    """An exponential moving average of a model's weights, held as a model of its own, in eval mode.

    Not diffusers' `EMAModel`: that one skips the first update and holds bare parameters, while checkpoints, validation
    and previews need a whole model with its buffers.
    """

    def __init__(self, model: ConfiguredModel, decay: float, sharded: bool = False):
        """Copies a model.

        Args:
            model: of which this is the average.
            decay: of the average.
            sharded: whether the average will be sharded.
        """
        self.decay = decay
        self.model: ConfiguredModel = copy.deepcopy(model).eval().requires_grad_(False)
        self.whole = Whole(self.model, sharded)

    def decay_at(self, step: int) -> float:
        """Returns min(decay, (1 + step) / (10 + step)), which forgets the first weights quickly."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, model: ConfiguredModel, step: int) -> None:
        """Moves the average towards `model` after optimizer step `step`; the first step is 0."""
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        learning = [(average, weight) for average, weight in pairs if weight.requires_grad]
        averages, weights = ([share_of(tensor) for tensor in side] for side in zip(*learning, strict=True))
        torch._foreach_lerp_(averages, weights, 1.0 - self.decay_at(step))
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)
