"""Averaged weights."""

from __future__ import annotations

import copy

import torch

from ...core.configured import ConfiguredModel


class AveragedModel:
    """An exponential moving average of a model's weights, held as a model of its own, in eval mode.

    Not diffusers' `EMAModel`: that one skips the first update and holds bare parameters, while checkpoints, validation
    and previews here want a whole model with its buffers.
    """

    def __init__(self, model: ConfiguredModel, decay: float):
        self.decay = decay
        self.model: ConfiguredModel = copy.deepcopy(model).eval().requires_grad_(False)

    def decay_at(self, step: int) -> float:
        """min(decay, (1 + step) / (10 + step)): the first weights are forgotten quickly."""
        return min(self.decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, model: ConfiguredModel, step: int) -> None:
        """Move the average towards `model` after optimiser step `step`, 0 being the first."""
        averages, weights = list(self.model.parameters()), list(model.parameters())
        torch._foreach_lerp_(averages, weights, 1.0 - self.decay_at(step))
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)
