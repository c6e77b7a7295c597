"""Training behind a past that the model made itself."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, LATENT_BINDING
from latent_batches import random_weights, seed
from torch import Tensor

from latentune.core.random import BatchGenerator
from latentune.generators.base import LatentBatch
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.diffusion.own_past import OwnPast, make_past
from latentune.generators.diffusion.past import FrameCache

BLOCK = 4  # frames
CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    max_frames=16,
    attention="chunk_causal",
    block_chunks=2,
    conditioning=CONDITIONING,
)
ASKED = Conditions.of(["a", "", "b"], 1.0)
OWN = OwnPast(probability=0.5, steps=3)


@pytest.fixture
def model() -> DiffusionTransformer:
    return random_weights(DiffusionTransformer(CONFIG))


def items(size: int = 3) -> LatentBatch:
    return LatentBatch(
        latents=torch.randn(size, 16, 3, generator=seed(2)),
        latent_mask=torch.arange(16) < torch.tensor([16, 14, 6])[:size, None],
        tokens=None,
        token_mask=None,
        conditions=ASKED.rows(list(range(size))),
        ids=[str(number) for number in range(size)],
    )


class Recorder(torch.nn.Module):
    """Remembers what it is called with, and leads to zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.calls: list[tuple[bool, dict[str, Any]]] = []

    def forward(self, noisy: Tensor, t: Any, **inputs: Any) -> Tensor:
        self.calls.append((torch.is_grad_enabled(), inputs))
        return noisy / t[:, None, None] if isinstance(t, Tensor) else noisy * self.weight


@torch.no_grad()
@pytest.mark.parametrize("level", [1.0, 0.5])
def test_blocks_are_made_as_a_stream_makes_them_behind_the_true_ones(model: DiffusionTransformer, level: float) -> None:
    clean, options = torch.randn(3, 16, 3, generator=seed(2)), replace(OWN, level=level)
    made = make_past(model, clean, options, seed(4), conditions=ASKED)
    noise = torch.randn(3, 16, 3, generator=seed(4))
    cache = FrameCache(CONFIG, 3, torch.float32, torch.device("cpu"))
    for start in range(0, 16, BLOCK):
        part = slice(start, start + BLOCK)
        cache.move_on()
        x = (1 - level) * clean[:, part] + level * noise[:, part]
        for t, to in pairwise([level * (1 - step / 3) for step in range(4)]):
            x = x + (to - t) * model(x, torch.full((3,), t), conditions=ASKED, cache=cache)
        torch.testing.assert_close(made[:, part], x, atol=1e-4, rtol=1e-4)
        model(clean[:, part], torch.zeros(3), conditions=ASKED, cache=cache, store=True)


def test_in_its_share_of_the_steps_the_past_is_what_the_model_made() -> None:
    objective = RectifiedFlowObjective(RectifiedFlowConfig(own_past=OWN), CONFIG)
    due = [OWN.is_due(step) for step in range(400)]
    assert 0.4 < sum(due) / len(due) < 0.6
    for step in (due.index(True), due.index(False)):
        recorder = Recorder()
        objective(recorder, items(), step=step, generator=seed())
        (*before, (with_gradient, inputs)), own = recorder.calls, due[step]
        assert with_gradient
        assert [gradient for gradient, _ in before] == [False] * 3 * own
        assert bool(inputs["past"].latents[0].abs().max() < 1e-5) is own  # the recorder's velocity leads to zeros
        assert all(call["drop_mask"] is inputs["drop_mask"] for _, call in before)
        assert all(call["past"].latents[0].any() for _, call in before)


def test_a_validation_loss_sees_the_true_past() -> None:
    objective, recorder = (
        RectifiedFlowObjective(RectifiedFlowConfig(own_past=OwnPast(probability=1)), CONFIG),
        Recorder(),
    )
    with torch.no_grad():
        objective(recorder, items(), step=0, generator=seed())
    assert len(recorder.calls) == 1


def test_an_example_has_its_own_past_in_however_many_parts_a_batch_is_computed(model: DiffusionTransformer) -> None:
    config = RectifiedFlowConfig(own_past=replace(OWN, probability=1.0), past_noise=0.3, cond_drop_prob=0.0)
    objective, whole = RectifiedFlowObjective(config, CONFIG), items()
    together, _ = objective(model, whole, step=0, generator=BatchGenerator("cpu", (0,), range(3), 3))
    losses, weights = [], []
    for rows in ([0, 1], [2]):
        part = replace(
            whole,
            latents=whole.latents[rows],  # type: ignore[index]
            latent_mask=whole.latent_mask[rows],  # type: ignore[index]
            conditions=ASKED.rows(rows),
            ids=[whole.ids[row] for row in rows],
        )
        loss, _ = objective(model, part, step=0, generator=BatchGenerator("cpu", (0,), rows, 3))
        losses.append(loss.item())
        weights.append(objective.weight(part))
    mean = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert together.item() == pytest.approx(mean, rel=1e-4)


def test_what_does_not_fit_is_refused() -> None:
    for wrong in ({"probability": 1.5}, {"probability": -0.1}, {"level": 0.0}, {"level": 1.1}, {"steps": 0}):
        with pytest.raises(ValueError, match="own_past needs a probability"):
            OwnPast(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="own_past is for a generator with attention chunk_causal"):
        RectifiedFlowObjective(RectifiedFlowConfig(own_past=OWN), replace(CONFIG, attention="full"))
