"""Times of training and sampling, their shift by length, and the pairing of noise with examples."""

import itertools
import math
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING
from torch import Tensor

from latentune.generators.base import LatentBatch
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.diffusion.coupling import pair_optimally
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.generators.parts.keep import KeepPatterns
from latentune.generators.parts.times import shift_factor, shift_times, time_grid

NOTHING_GIVEN = KeepPatterns(none=1.0, prefix=0.0, suffix=0.0, gap=0.0, gaps=0.0)
CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=1,
    heads=2,
    conditioning=ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}),
)


def test_a_shift_keeps_the_ends_and_the_order_and_is_undone_by_its_inverse() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    for factor in (0.5, 1.0, 3.0):
        shifted = shift_times(t, factor)
        assert shifted[0] == 0
        assert shifted[-1] == 1
        assert (shifted.diff() > 0).all()
        torch.testing.assert_close(shift_times(shifted, 1 / factor), t)
    assert (shift_times(t, 3.0)[1:-1] > t[1:-1]).all()
    # the ratio of noise to signal is multiplied by the factor
    inner, shifted = t[1:-1], shift_times(t, 3.0)[1:-1]
    torch.testing.assert_close(shifted / (1 - shifted), 3.0 * inner / (1 - inner))


def test_the_factor_grows_with_the_root_of_the_length() -> None:
    assert shift_factor(400, 2.0, None) == 2.0
    assert shift_factor(100, 2.0, 100) == 2.0
    assert shift_factor(400, 2.0, 100) == pytest.approx(4.0)


@pytest.mark.parametrize(("start", "factor"), [(1.0, 1.0), (1.0, 3.0), (0.6, 1.0), (0.6, 3.0)])
def test_a_grid_goes_from_its_start_to_zero(start: float, factor: float) -> None:
    grid = time_grid(start, 5, factor)
    assert len(grid) == 6
    assert (grid[0], grid[-1]) == (start, 0.0)
    even = [float(shift_times(torch.tensor(t, dtype=torch.float64), 1 / factor)) for t in grid]
    steps = [a - b for a, b in itertools.pairwise(even)]
    assert steps == pytest.approx([steps[0]] * 5)


class Recorder(DiffusionTransformer):
    """Keeps the times and the latents that the objective calls it with."""

    def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
        self.seen = noisy, t.each().squeeze(1)
        return torch.zeros_like(noisy, requires_grad=True)


def seen(num_items: int, lengths: list[int], **options: Any) -> tuple[Tensor, Tensor]:
    model = Recorder(CONFIG)
    objective = RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=NOTHING_GIVEN, **options), CONFIG)
    frames = max(lengths)
    mask = torch.arange(frames) < torch.tensor(lengths)[:, None]
    batch = LatentBatch(
        latents=torch.randn(num_items, frames, 3, generator=torch.Generator().manual_seed(5)),
        latent_mask=mask,
        tokens=None,
        token_mask=None,
        conditions=Conditions(values={"seconds": [(0.0, 1.0)] * num_items}),
        ids=[str(i) for i in range(num_items)],
    )
    objective(model, batch, step=0, generator=torch.Generator().manual_seed(0))
    return model.seen


def test_training_times_are_shifted_by_each_items_own_length() -> None:
    lengths = [8, 32] * 50
    plain = seen(100, lengths, time_distribution="uniform")[1].flatten()
    shifted = seen(100, lengths, time_distribution="uniform", time_shift=2.0, shift_frames=8)[1].flatten()
    torch.testing.assert_close(shifted[::2], shift_times(plain[::2], 2.0))
    torch.testing.assert_close(shifted[1::2], shift_times(plain[1::2], 4.0))
    constant = seen(100, lengths, time_distribution="logit-normal", time_shift=2.0)[1].flatten()
    normal = seen(100, lengths, time_distribution="logit-normal")[1].flatten()
    # a shift moves the mean of a logit-normal distribution by its logarithm
    torch.testing.assert_close(torch.logit(constant) - torch.logit(normal), torch.full((100,), math.log(2.0)))


def test_pairs_are_the_nearest_of_all_and_padding_does_not_count() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 5, 4, 3, generator=generator)
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1, 4])[:, None]

    def cost(order: tuple[int, ...]) -> float:
        return float(((clean - noise[list(order)]).square().sum(-1) * mask).sum())

    best = min(itertools.permutations(range(5)), key=cost)
    paired = pair_optimally(clean, noise, mask)
    assert torch.equal(paired, noise[list(best)])
    assert best != tuple(range(5))
    hidden = clean.masked_fill(~mask[..., None], 99.0)
    assert torch.equal(pair_optimally(hidden, noise, mask), paired)


def test_the_coupling_pairs_other_noise_of_the_same_draw() -> None:
    lengths = [8] * 16
    random, random_t = seen(16, lengths)
    paired, paired_t = seen(16, lengths, coupling="minibatch_ot")
    assert torch.equal(random_t, paired_t)
    assert not torch.equal(random, paired)


@pytest.mark.parametrize("wrong", [{"time_shift": 0.0}, {"time_shift": float("nan")}, {"shift_frames": 0}])
def test_impossible_shifts_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RectifiedFlowConfig(**wrong)
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DiffusionTransformer.make_sampling(wrong)
