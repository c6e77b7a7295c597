"""The validation loss."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from ...core.configured import ConfiguredModel
from .build import Task
from .config import TrainConfig
from .environment import keyed_noise
from .loader import fixed_batches
from .log import Averages


@torch.no_grad()
def validate(config: TrainConfig, task: Task, model: ConfiguredModel, accelerator: Any) -> dict[str, float]:
    """Returns the objective's figures on fixed held-out crops with fixed noise, as `valid_...`.

    The objective always gets the last step of the run, so that figures of different steps can be compared.

    Args:
        config: of the run.
        task: has held-out examples.
        model: in eval mode.
        accelerator: of the run.
    """
    assert task.held_out is not None
    averages = Averages()
    size = config.batch_size // accelerator.num_processes // config.grad_accum
    for number, batch in enumerate(fixed_batches(task.held_out, config.data.valid_examples, size)):
        generator = keyed_noise(accelerator.device, "held out", number)
        with accelerator.autocast():
            loss, metrics = task.objective(
                cast(nn.Module, model), batch.to(accelerator.device), step=config.steps, generator=generator
            )
        averages.add({"loss": loss, **metrics}, weight=len(batch))
    return {f"valid_{name}": value for name, value in averages.take().items()}
