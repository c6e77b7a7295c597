"""The symmetric grid and its residual stages: every level, every rounding, every decomposition."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch

from latentune.layers import fsq, fsq_symmetric
from latentune.layers.fsq_symmetric import Stage

LEVELS = [(17,) * 6, (6,) * 6, (2,), (2, 3, 4, 5), (33, 17, 9)]


def random_values(dims: int, count: int = 4000, seed: int = 0) -> torch.Tensor:
    """Values all over [-1, 1], both ends among them."""
    values = torch.rand(count, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1
    values[0], values[1] = 1.0, -1.0
    return values


@pytest.mark.parametrize("levels", LEVELS)
def test_every_level_of_the_grid_comes_back(levels: tuple[int, ...]) -> None:
    stage = Stage(levels=levels)
    for d, size in enumerate(levels):
        digits = torch.zeros(size, len(levels), dtype=torch.int64)
        digits[:, d] = torch.arange(size)
        values = fsq_symmetric.symmetric_values(digits, stage)
        assert torch.equal(fsq_symmetric.symmetric_digits(values, stage), digits)
        assert values[0, d] == -1
        assert values[-1, d] == pytest.approx(1, abs=1e-7)
        torch.testing.assert_close(values[:, d].diff(), torch.full((size - 1,), 2 / (size - 1)))


@pytest.mark.parametrize("levels", LEVELS)
def test_values_go_to_the_nearest_level(levels: tuple[int, ...]) -> None:
    """Against an exhaustive search in exact fractions."""
    values = random_values(len(levels), 60)
    digits = fsq_symmetric.symmetric_digits(values, Stage(levels=levels))
    for row, chosen in zip(values.tolist(), digits.tolist(), strict=True):
        for value, digit, size in zip(row, chosen, levels, strict=True):
            distances = [abs(Fraction(value) - (Fraction(2 * k, size - 1) - 1)) for k in range(size)]
            assert distances[digit] <= min(distances) + Fraction(1, 10**7)  # the step is rounded to float32


def test_ties_go_to_the_even_digit_or_up() -> None:
    middle = torch.tensor([[-0.75], [-0.25], [0.25], [0.75]])  # between the levels of L = 5
    stage = Stage(levels=(5,))
    assert fsq_symmetric.symmetric_digits(middle, stage).flatten().tolist() == [0, 2, 2, 4]
    assert fsq_symmetric.symmetric_digits(middle, stage, "half_up").flatten().tolist() == [1, 2, 3, 4]


def test_the_step_is_the_one_of_float32() -> None:
    step = fsq_symmetric.symmetric_steps((6,))
    assert step.dtype == torch.float32
    assert step.double().item() == 0.4000000059604645
    just_below = torch.tensor([[0.4000000059604645 * 2.5 - 1 - 1e-12]], dtype=torch.float64)
    assert fsq_symmetric.symmetric_digits(just_below, Stage(levels=(6,))).item() == 2


def test_what_lies_beyond_the_scale_goes_to_the_outermost_level() -> None:
    stage = Stage(levels=(5, 5), scale=0.25)
    assert fsq_symmetric.symmetric_digits(torch.tensor([[9.0, -9.0]]), stage).tolist() == [[4, 0]]


def test_indices_near_the_top_of_a_large_codebook_are_exact() -> None:
    levels = (17,) * 6
    size = 17**6
    assert size > 2**24  # where float32 loses the low bits
    indices = torch.arange(size - 1000, size)
    digits = fsq.indices_to_digits(indices, levels)
    assert torch.equal(fsq.digits_to_indices(digits, levels), indices)
    values = fsq_symmetric.symmetric_values(digits, Stage(levels=levels))
    digits = fsq_symmetric.symmetric_digits(values, Stage(levels=levels))
    assert torch.equal(fsq.digits_to_indices(digits, levels), indices)


def test_the_gradient_passes_through_rounding_and_noise() -> None:
    values = torch.tensor([[0.3, -0.9]], requires_grad=True)
    quantised = fsq_symmetric.symmetric_straight_through(values, (5, 17))
    torch.testing.assert_close(quantised, torch.tensor([[0.5, -0.875]]))
    noisy = fsq_symmetric.symmetric_noise(values, (5, 17), torch.tensor([[0.5, -0.5]]))
    torch.testing.assert_close(noisy, torch.tensor([[0.3 + 1 / 4, -0.9 - 1 / 16]]))  # one half of a step: 1 / (L - 1)
    (quantised.sum() + noisy.sum()).backward()
    assert torch.equal(values.grad, torch.full((1, 2), 2.0))


def test_levels_of_each_item_broadcast() -> None:
    values = torch.full((2, 3, 1), 0.3)
    quantised = fsq_symmetric.symmetric_straight_through(values, torch.tensor([3, 5])[:, None, None])
    torch.testing.assert_close(quantised[:, 0, 0], torch.tensor([0.0, 0.5]))


def test_the_decompositions_of_seventeen_levels() -> None:
    """All ordered ways to write 4 as a sum of positive integers: 8 of them."""
    found = {tuple(stage.levels[0] for stage in stages) for stages in fsq_symmetric.decompositions((17,) * 6)}
    expected = {(17,), (9, 3), (5, 5), (3, 9), (5, 3, 3), (3, 5, 3), (3, 3, 5), (3, 3, 3, 3)}
    assert found == expected
    assert fsq_symmetric.decompositions((17,))[0] == (Stage(levels=(17,)),)


@pytest.mark.parametrize("levels", [(17,) * 2, (9, 9), (33,), (33, 9, 17)])
def test_a_decomposition_spells_the_same_grid(levels: tuple[int, ...]) -> None:
    values = random_values(len(levels))
    whole = Stage(levels=levels)
    expected = fsq_symmetric.symmetric_values(fsq_symmetric.symmetric_digits(values, whole), whole)
    ways = fsq_symmetric.decompositions(levels)
    assert len(ways) == 2 ** (min(levels).bit_length() - 2)
    for stages in ways:
        digits = fsq_symmetric.residual_digits(values, stages)
        for part, stage in zip(digits, stages, strict=True):
            assert (part >= 0).all()
            assert (part < torch.tensor(stage.levels)).all()
        assert torch.equal(fsq_symmetric.residual_values(digits, stages, clip=False), expected)


@pytest.mark.parametrize("levels", [(6, 6), (4,), (17, 6), (3, 3)])
def test_other_levels_have_no_decomposition(levels: tuple[int, ...]) -> None:
    assert fsq_symmetric.decompositions(levels) == [(Stage(levels=levels),)]


def test_the_sum_of_freely_chosen_digits_is_clipped_on_demand() -> None:
    stages = [Stage(levels=(3,), scale=scale) for scale in (1, 1 / 2, 1 / 4, 1 / 8)]
    digits = [torch.tensor([[2], [0], [1]])] * 4
    assert fsq_symmetric.residual_values(digits, stages, clip=False).flatten().tolist() == [1.875, -1.875, 0.0]
    assert fsq_symmetric.residual_values(digits, stages).flatten().tolist() == [1.0, -1.0, 0.0]


@pytest.mark.parametrize(("levels", "scale"), [((), 1.0), ((1, 5), 1.0), ((5,), 0.0), ((5,), 1.5), ((5,), math.nan)])
def test_an_impossible_stage(levels: tuple[int, ...], scale: float) -> None:
    with pytest.raises(ValueError, match="must"):
        Stage(levels=levels, scale=scale)
