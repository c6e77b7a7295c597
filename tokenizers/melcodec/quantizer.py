"""Finite scalar quantization with L equal bins over (-1, 1), for even and odd L alike. Pure functions.

A value v in (-1, 1) has the digit floor((v + 1) L / 2); a digit has the value in the middle of its bin,
(2 digit + 1) / L - 1. No digit stands for -1 or 1, so that atanh of every value is finite. The digits of a frame are
those of its codebooks, one after the other, the least significant first. Shape letters: d digits of a frame,
Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

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


def round_straight_through(values: Tensor, levels: Sequence[int]) -> Tensor:
    """Values in the middle of their bins; the gradient passes as if they had not moved."""
    return values + (digits_to_values(values_to_digits(values, levels), levels) - values).detach()


def values_to_tokens(values: Tensor, levels: Sequence[int], num_codebooks: int) -> Tensor:
    """Converts values to tokens.

    Args:
        values: [..., Q * len(levels)].
        levels: of one codebook's dimensions.
        num_codebooks: Q.

    Returns:
        Tokens [..., Q] int64.
    """
    digits = values_to_digits(values, tuple(levels) * num_codebooks)
    return fsq.digits_to_indices(digits.unflatten(-1, (num_codebooks, len(levels))), levels)


def tokens_to_values(tokens: Tensor, levels: Sequence[int]) -> Tensor:
    """Tokens [..., Q] to values [..., Q * len(levels)].

    Raises:
        ValueError: tokens out of range.
        TypeError: tokens that are not integers.
    """
    digits = fsq.indices_to_digits(tokens, levels)
    return digits_to_values(digits, levels).flatten(-2)
