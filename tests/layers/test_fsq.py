"""Finite scalar quantisation: packing, rounding, bounds, over whole codebooks."""

from __future__ import annotations

import math

import pytest
import torch

from latentune.layers import fsq

LEVELS = [(11, 11, 11, 11), (8, 5, 5, 5), (2,), (4, 3), (17, 2, 6)]


@pytest.mark.parametrize("levels", LEVELS)
def test_indices_round_trip_over_the_whole_codebook(levels: tuple[int, ...]) -> None:
    indices = torch.arange(math.prod(levels))
    digits = fsq.indices_to_digits(indices, levels)
    assert torch.equal(fsq.digits_to_indices(digits, levels), indices)
    assert len({tuple(row) for row in digits.tolist()}) == len(indices)
    values = fsq.digits_to_values(digits, levels)
    assert values.abs().max() <= 1
    assert torch.equal(fsq.values_to_digits(values, levels), digits)
    assert int(digits[1, 0]) == 1 % levels[0]  # dimension 0 is the least significant one


@pytest.mark.parametrize("levels", LEVELS)
def test_the_bound_reaches_every_level_and_no_other(levels: tuple[int, ...]) -> None:
    z = torch.linspace(-50, 50, 20001)[:, None].expand(-1, len(levels))
    rounded = fsq.bound(z, levels).round()
    for d, size in enumerate(levels):
        assert len(rounded[:, d].unique()) == size
        digits = rounded[:, d] + size // 2
        assert digits.min() == 0
        assert digits.max() == size - 1


def test_large_codebooks_stay_exact() -> None:
    levels = (17,) * 12  # beyond 2**48: a float32 product would lose the low digits
    digits = torch.randint(17, (64, 12), generator=torch.Generator().manual_seed(0))
    assert torch.equal(fsq.indices_to_digits(fsq.digits_to_indices(digits, levels), levels), digits)


def test_straight_through_passes_the_gradient() -> None:
    x = torch.tensor([0.2, 1.7], requires_grad=True)
    fsq.round_straight_through(x).sum().backward()
    assert torch.equal(x.grad, torch.ones(2))


def test_latents_are_finite_at_the_limits() -> None:
    values = torch.tensor([-1.0, 0.0, 0.4, 1.0])
    latents = fsq.values_to_latents(values, 0.8)
    assert torch.isfinite(latents).all()
    torch.testing.assert_close(fsq.latents_to_values(latents, 0.8), values, atol=2e-5, rtol=0)


def test_bad_indices() -> None:
    with pytest.raises(ValueError, match=r"0\.\.14640, got 0\.\.14641"):
        fsq.indices_to_digits(torch.tensor([0, 14641]), (11,) * 4)
    with pytest.raises(TypeError, match="integers"):
        fsq.indices_to_digits(torch.tensor([0.0]), (11,) * 4)
