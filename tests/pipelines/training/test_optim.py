"""The learning rate, the optimizer and its state."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from latentune.core.errors import CheckpointError
from latentune.pipelines.training.config import OptimizerConfig, ScheduleConfig
from latentune.pipelines.training.optim import (
    build_optimizer,
    learning_rate_factor,
    load_optimizer_state,
    optimizer_tensors,
)


def test_the_learning_rate_rises_then_falls() -> None:
    config = ScheduleConfig(kind="cosine", warmup_steps=4, final_lr_ratio=0.1)
    factors = [learning_rate_factor(step, 20, config) for step in range(20)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert all(a >= b for a, b in itertools.pairwise(factors[4:]))
    assert factors[-1] == pytest.approx(0.1)
    constant = ScheduleConfig(kind="constant", warmup_steps=2)
    assert [learning_rate_factor(step, 5, constant) for step in range(5)] == [0.5, 1, 1, 1, 1]


def test_a_constant_rate_decays_in_the_last_steps_whatever_their_number() -> None:
    config = ScheduleConfig(kind="constant_decay", warmup_steps=2, decay_steps=4, final_lr_ratio=0.2)
    short, long = ([learning_rate_factor(step, steps, config) for step in range(steps)] for steps in (10, 14))
    assert short == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert long == pytest.approx([0.5, *[1] * 9, 0.8, 0.6, 0.4, 0.2])  # the same but for more constant steps
    never = ScheduleConfig(kind="constant_decay")
    assert [learning_rate_factor(step, 3, never) for step in range(3)] == [1, 1, 1]
    with pytest.raises(ValueError, match="decay_steps belongs to kind constant_decay"):
        ScheduleConfig(decay_steps=4)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_run_as_short_as_its_warm_up_has_a_learning_rate(steps: int) -> None:
    config = ScheduleConfig(warmup_steps=2)
    assert all(0 < learning_rate_factor(step, steps, config) <= 1 for step in range(steps))


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    model(torch.randn(5, 3, generator=torch.Generator().manual_seed(seed))).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


@pytest.mark.parametrize("name", ["adamw", "radam"])
def test_the_optimisers_state_survives_as_named_tensors(name: Any, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    config = OptimizerConfig(name=name, lr=0.01, weight_decay=0.1)
    model = network()
    optimizer = build_optimizer(model, config)
    for seed in range(7):
        step(model, optimizer, seed)
    save_file(optimizer_tensors(optimizer, model), tmp_path / "o.safetensors")
    twin = network()
    twin.load_state_dict(model.state_dict())
    restored = build_optimizer(twin, config)
    load_optimizer_state(restored, twin, load_file(tmp_path / "o.safetensors"))
    for seed in range(7, 12):
        step(model, optimizer, seed)
        step(twin, restored, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


def test_the_state_of_another_model_is_refused() -> None:
    model = network()
    optimizer = build_optimizer(model, OptimizerConfig())
    with pytest.raises(CheckpointError, match="of another model: it has elsewhere"):
        load_optimizer_state(optimizer, model, {"elsewhere/exp_avg": torch.zeros(1)})


def test_weight_decay_spares_biases_and_gains() -> None:
    model = network()
    groups = build_optimizer(model, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 2), (0.0, 4)]
