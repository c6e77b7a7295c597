"""Bins of equal width: digits, values and tokens are images of each other."""

from __future__ import annotations

import pytest
import torch

from latentune.tokenizers.melcodec import quantizer
from latentune.tokenizers.melcodec.quantizer import FiniteQuantizer

LEVELS = (4, 5, 2, 3)


def test_values_lie_in_the_middle_of_their_bins() -> None:
    assert quantizer.digits_to_values(torch.arange(4)[:, None], (4,))[:, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    expected = torch.tensor([-2 / 3, 0.0, 2 / 3])
    torch.testing.assert_close(quantizer.digits_to_values(torch.arange(3)[:, None], (3,))[:, 0], expected)


def test_a_value_goes_to_the_nearest_digit(generator: torch.Generator) -> None:
    values = 2 * torch.rand(200, 4, generator=generator) - 1
    digits = quantizer.values_to_digits(values, LEVELS)
    error = (quantizer.digits_to_values(digits, LEVELS) - values).abs()
    assert (error <= 1 / torch.tensor(LEVELS) + 1e-6).all()


def test_values_at_and_beyond_the_ends_have_a_digit() -> None:
    values = torch.tensor([-1.0, 1.0, -2.0, 2.0])[:, None].expand(-1, 4)
    digits = quantizer.values_to_digits(values, LEVELS)
    top = torch.tensor(LEVELS) - 1
    assert torch.equal(digits, torch.stack([0 * top, top, 0 * top, top]))


def test_every_token_of_every_codebook_comes_back() -> None:
    size = 4 * 5 * 2 * 3
    tokens = torch.stack([torch.arange(size), torch.arange(size).flip(0)], dim=-1)[None]
    finite = FiniteQuantizer(LEVELS, 2)
    assert finite.levels == (LEVELS, LEVELS)
    values = finite.tokens_to_values(tokens)
    assert values.shape == (1, size, 8)
    assert values.abs().max() < 1
    assert torch.equal(finite.values_to_tokens(values), tokens)


def test_the_gradient_passes_the_rounding() -> None:
    values = torch.tensor([[0.1, -0.6, 0.9, 0.0]], requires_grad=True)
    rounded = FiniteQuantizer(LEVELS, 1).straight_through(values)
    assert torch.equal(rounded.detach(), quantizer.digits_to_values(quantizer.values_to_digits(values, LEVELS), LEVELS))
    rounded.sum().backward()
    assert torch.equal(values.grad, torch.ones(1, 4))


@pytest.mark.parametrize(
    ("tokens", "error"),
    [(torch.tensor([[120]]), ValueError), (torch.tensor([[-1]]), ValueError), (torch.tensor([[0.5]]), TypeError)],
)
def test_tokens_that_cannot_be(tokens: torch.Tensor, error: type[Exception]) -> None:
    with pytest.raises(error):
        FiniteQuantizer(LEVELS, 1).tokens_to_values(tokens)
