"""A network that is being trained: the model itself, and an adversarial objective's critic."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from .config import OptimizerConfig
from .optim import build_optimizer, set_learning_rate


class Trainee:
    """A network with its optimiser, and both as accelerate wraps them."""

    def __init__(self, module: nn.Module, config: OptimizerConfig, accelerator: Any, compile: bool = False):
        self.module, self.config, self.accelerator = module, config, accelerator
        self.optimizer = build_optimizer(module, config)
        wrapped = torch.compile(module) if compile else module
        self.wrapped, self._prepared = accelerator.prepare(wrapped, self.optimizer)

    def set_rate(self, factor: float) -> None:
        """Set the learning rate to `factor` times the highest."""
        set_learning_rate(self.optimizer, self.config.lr * factor)

    def part(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward pass of a part of a step: processes share gradients in the last part alone."""
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def clip(self, clip_norm: float) -> Tensor:
        """Limit the norm of the whole gradient (0: leave it); returns what it was."""
        return self.accelerator.clip_grad_norm_(self.module.parameters(), clip_norm or math.inf)

    def update(self) -> None:
        """Do the optimiser's step and forget the gradient."""
        self._prepared.step()
        self._prepared.zero_grad(set_to_none=True)
