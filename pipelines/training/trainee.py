"""A network that is being trained: the model, or the critic of an adversarial objective."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from .config import OptimizerConfig
from .optim import build_optimizer, set_learning_rate
from .sharding import shard


class Trainee:
    """A network with its optimizer, and both as accelerate wraps them.

    Args:
        module: the network.
        config: of the optimizer.
        accelerator: of the run.
        uses_all_parameters: each backward pass reaches every parameter that learns. Without it several processes look
            for unused ones in each step, which costs a pass over the graph.
        compile: use `torch.compile`.
        gradient_checkpointing: compute the activations of each repeated block again in the backward pass.
        sharded: share the network out between the processes.

    Raises:
        ValueError: gradient checkpointing or sharding of a network without repeated blocks.
    """

    def __init__(
        self,
        module: nn.Module,
        config: OptimizerConfig,
        accelerator: Any,
        *,
        uses_all_parameters: bool,
        compile: bool = False,
        gradient_checkpointing: bool = False,
        sharded: bool = False,
    ):
        from accelerate import DistributedDataParallelKwargs

        self.module, self.config, self.accelerator, self.sharded = module, config, accelerator, sharded
        blocks: Sequence[nn.Module] = getattr(module, "repeated_blocks", ())
        if gradient_checkpointing:
            _checkpoint_blocks(module, blocks)
        if sharded:
            shard(module, accelerator.device)
        self.optimizer = build_optimizer(module, config, blocks)
        if sharded:  # not wrapped by accelerate, which would copy the network to each process
            self.wrapped = _under_autocast(module, accelerator)
            self._prepared = accelerator.prepare(self.optimizer)
            return
        wrapped = torch.compile(module) if compile else module
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=not uses_all_parameters)
        self.wrapped, self._prepared = accelerator.prepare(wrapped, self.optimizer)

    def set_rate(self, factor: float) -> None:
        """Sets the learning rate to `factor` times the highest."""
        set_learning_rate(self.optimizer, self.config.lr * factor)

    def part(self, last: bool) -> AbstractContextManager[Any]:
        """Surrounds forward and backward pass of a part of a step: processes share gradients only in the last part."""
        if self.sharded:
            cast(Any, self.module).set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self.wrapped)

    def clip(self, clip_norm: float) -> Tensor:
        """Limits the norm of the whole gradient (0: does not) and returns the norm before that."""
        norm: Tensor = self.accelerator.clip_grad_norm_(self.module.parameters(), clip_norm or math.inf)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def update(self) -> None:
        """Does the optimizer's step and drops the gradient."""
        self._prepared.step()
        self._prepared.zero_grad(set_to_none=True)


def _under_autocast(module: nn.Module, accelerator: Any) -> Any:
    """Returns the forward pass of a network in the run's precision."""

    def forward(*arguments: Any, **options: Any) -> Any:
        with accelerator.autocast():
            return module(*arguments, **options)

    return forward


def _checkpoint_blocks(module: nn.Module, blocks: Sequence[nn.Module]) -> None:
    if not blocks:
        raise ValueError(f"{type(module).__name__} has no repeated blocks: leave gradient_checkpointing out")
    for block in blocks:
        # on the instance, so that names of weights stay as they are
        block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
