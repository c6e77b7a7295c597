"""Finite scalar quantization with L equal bins over (-1, 1), for even and odd L alike.

A value v in (-1, 1) has the digit floor((v + 1) L / 2); a digit has the value in the middle of its bin,
(2 digit + 1) / L - 1. No digit stands for -1 or 1, so that atanh of every value is finite. The digits of a frame are
those of its codebooks, one after the other, the least significant first. Shape letters: d digits of a frame,
Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...layers import fsq


def values_to_digits(values: Tensor, levels: Sequence[int]) -> Tensor:
    """Values [..., d] to digits [..., d] int64; `levels` has d entries."""
    sizes = torch.tensor(levels, device=values.device)
    digits = ((values + 1.0) * sizes / 2.0).floor().to(torch.int64)
    return torch.minimum(digits.clamp_min(0), sizes - 1)


def digits_to_values(digits: Tensor, levels: Sequence[int]) -> Tensor:
    """Digits [..., d] to the values [..., d] in the middle of their bins, float32."""
    sizes = torch.tensor(levels, device=digits.device)
    return (2.0 * digits + 1.0) / sizes - 1.0


class FiniteQuantizer(nn.Module):
    """Values [..., Q * d] to tokens [..., Q] and back. It has no parameters."""

    def __init__(self, levels: Sequence[int], num_codebooks: int):
        super().__init__()
        self.levels = (tuple(levels),) * num_codebooks  # as in `TokenizerSpec.levels`
        self.digit_levels = tuple(levels) * num_codebooks

    def fit(self, values: Tensor) -> None:
        """Does nothing: the levels are where they are, whatever the values [M, Q * d]."""

    def straight_through(self, values: Tensor) -> Tensor:
        """Returns values in the middle of their bins; the gradient passes as if they had not moved."""
        return values + (self._centers(self.values_to_digits(values)) - values).detach()

    def values_to_digits(self, values: Tensor) -> Tensor:
        """Returns digits [..., Q * d] of values [..., Q * d]."""
        return values_to_digits(values, self.digit_levels)

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns tokens [..., Q] int64 of values [..., Q * d]."""
        digits = self.values_to_digits(values).unflatten(-1, (len(self.levels), len(self.levels[0])))
        return fsq.digits_to_indices(digits, self.levels[0])

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns values [..., Q * d] of tokens [..., Q].

        Raises:
            ValueError: tokens out of range.
            TypeError: tokens that are not integers.
        """
        return self._centers(fsq.indices_to_digits(tokens, self.levels[0]).flatten(-2))

    def _centers(self, digits: Tensor) -> Tensor:
        return digits_to_values(digits, self.digit_levels)
