"""Optimizer, learning rate, and the state of the optimizer as named tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ...core.errors import CheckpointError
from .config import OptimizerConfig, ScheduleConfig
from .sharding import like


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for matrices and AdamW for all else, as one optimizer with one state.

    Muon's updates are scaled to the size of AdamW's (Liu et al., arXiv 2502.16982, section 2.2), so that both take the
    same learning rate and weight decay.

    Args:
        matrices: parameters of two dimensions.
        groups: parameter groups of AdamW.
        config: of the optimizer.
    """

    def __init__(self, matrices: list[nn.Parameter], groups: list[dict[str, Any]], config: OptimizerConfig):
        muon = torch.optim.Muon(
            matrices,
            lr=config.lr,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            eps=1e-7,
            adjust_lr_fn="match_rms_adamw",
        )
        adamw = torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)
        super().__init__([*muon.param_groups, *adamw.param_groups], {})
        self.parts: tuple[torch.optim.Optimizer, ...] = (muon, adamw)
        self._share()

    def _share(self) -> None:
        """Makes both parts work on the groups and the state of this optimizer."""
        muon, adamw = self.parts
        muon.param_groups, adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        muon.state = adamw.state = self.state

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Does a step of both."""
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores the state of both."""
        super().load_state_dict(state_dict)
        self._share()


def build_optimizer(
    model: nn.Module, config: OptimizerConfig, blocks: Sequence[nn.Module] = ()
) -> torch.optim.Optimizer:
    """Returns the optimizer of `config` for the parameters that learn.

    Args:
        model: whose parameters learn.
        config: of the optimizer.
        blocks: of the model, whose matrices Muon trains.

    Raises:
        ValueError: the optimizer is muon and no matrix in the blocks learns.
    """
    wanted = [p for p in model.parameters() if p.requires_grad]
    linear = [part for block in blocks for part in block.modules() if isinstance(part, nn.Linear)]
    inside = {part.weight for part in linear} if config.name == "muon" else set()
    matrices = [p for p in wanted if p in inside]
    rest = [p for p in wanted if p not in inside]
    groups = [
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},  # biases, gains
    ]
    groups = [group for group in groups if group["params"]]
    if config.name == "muon":
        if not matrices:
            raise ValueError(f"{type(model).__name__} has no repeated blocks that learn for Muon: use adamw")
        return MuonWithAdamW(matrices, groups, config)
    if config.name == "radam":
        return torch.optim.RAdam(groups, lr=config.lr, betas=config.betas, eps=config.eps, decoupled_weight_decay=True)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)


def learning_rate_factor(step: int, total_steps: int, config: ScheduleConfig) -> float:
    """Returns the learning rate at a step, relative to the highest one.

    Args:
        step: number of the step; the first one is 0.
        total_steps: of the run.
        config: of the schedule.
    """
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.kind == "constant":
        return 1.0
    if config.kind == "constant_decay":
        left = total_steps - 1 - step
        share = min(1.0, left / config.decay_steps) if config.decay_steps else 1.0
        return config.final_lr_ratio + (1 - config.final_lr_ratio) * share
    length = max(1, total_steps - 1 - config.warmup_steps)
    progress = min(1.0, (step - config.warmup_steps) / length)
    return config.final_lr_ratio + (1 - config.final_lr_ratio) * (1 + math.cos(math.pi * progress)) / 2


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the rate of all groups."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Returns the state of the optimizer as `parameter/entry` -> tensor, which is a share where the parameter is."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    return {
        f"{names[parameter]}/{entry}": value
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def optimizer_tensors(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, Tensor]:
    """Returns the state of the optimizer of a whole model as `parameter/entry` -> tensor on the CPU."""
    return {key: value.detach().cpu().contiguous() for key, value in optimizer_state(optimizer, model).items()}


def load_optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Restores what `optimizer_state` or `optimizer_tensors` returned.

    Args:
        optimizer: to restore.
        model: whose parameters it holds.
        tensors: the state; whole tensors also fit a model that is sharded.

    Raises:
        CheckpointError: a parameter that the model does not have.
    """
    parameters = dict(model.named_parameters())
    names: dict[Tensor, str] = {parameter: name for name, parameter in parameters.items()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    numbers = {name: number for number, name in enumerate(order)}
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, entry = key.rpartition("/")
        if name not in numbers:
            raise CheckpointError(f"the optimizer state is of another model: it has {name}, this model does not")
        state.setdefault(numbers[name], {})[entry] = like(parameters[name], value)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
