"""Averaged weights."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import nn

from ...core.configured import ConfiguredModel
from .sharding import gathered, shard, share_of


class AveragedModel:
    """An exponential moving average of a model's weights, held as a model of its own, in eval mode.

    Not diffusers' `EMAModel`: that one skips the first update and holds bare parameters, while checkpoints, validation
    and previews need a whole model with its buffers.
    """

    def __init__(self, model: ConfiguredModel, decay: float):
        """Copies a model, of which this is the average.

        Args:
            model: the model, whole.
            decay: of the average.
        """
        self.decay = decay
        self.model: ConfiguredModel = copy.deepcopy(model).eval().requires_grad_(False)
        self._gathered: Any = None  # takes the shares of all processes, where there are any

    def shard(self, device: torch.device) -> None:
        """Shares the weights out between the processes; see `sharding.shard`."""
        self._gathered = copy.deepcopy(self.model).to("cpu")
        shard(cast(nn.Module, self.model), device)

    def whole(self, device: torch.device | str = "cpu") -> ConfiguredModel:
        """Returns the whole model; if it is sharded, a copy on `device`, and every process calls this."""
        if self._gathered is None:
            return self.model
        weights = {name: gathered(value) for name, value in cast(nn.Module, self.model).state_dict().items()}
        self._gathered.load_state_dict(weights)
        whole: ConfiguredModel = self._gathered.to(device)
        return whole

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
