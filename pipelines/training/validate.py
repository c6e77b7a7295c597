"""The validation loss."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ...core.configured import ConfiguredModel
from .build import Task
from .config import TrainConfig
from .environment import batch_noise, processes_of
from .log import Averages


@torch.no_grad()
def validate(config: TrainConfig, task: Task, model: ConfiguredModel, accelerator: Any) -> dict[str, float]:
    """Returns the objective's figures on fixed held-out crops with fixed noise, as `valid_...`.

    The objective always gets the last step of the run, so that figures of different steps can be compared. The
    processes share the crops.

    Args:
        config: of the run.
        task: has held-out examples.
        model: in eval mode.
        accelerator: of the run.

    Returns:
        The figures, the same in every process.
    """
    assert task.held_out is not None
    averages, processes, total = Averages(), processes_of(accelerator), config.data.valid_examples
    keys = task.held_out.keys(0, total)
    mine, size = processes.share(total), config.batch_size // processes.count // config.grad_accum
    for start in range(0, len(mine), size):
        positions = mine[start : start + size]
        batch = task.held_out.batch(keys[positions.start : positions.stop : positions.step])
        generator = batch_noise(accelerator.device, ("held out",), positions, total)
        with accelerator.autocast():
            loss, metrics = task.objective(
                cast(nn.Module, model), batch.to(accelerator.device), step=config.steps, generator=generator
            )
        averages.add({"loss": loss, **metrics}, task.objective.weight(batch))
    return {f"valid_{name}": value for name, value in averages.take(processes).items()}
