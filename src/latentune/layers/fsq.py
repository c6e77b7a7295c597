"""Finite scalar quantisation (Mentzer et al., arXiv 2309.15505): pure functions over the last axis.

Vocabulary: z is the unbounded encoder output; `bounded` lies in level units, (-L/2, L/2); a `digit` is an integer in
0..L-1; a `value` is a digit (or a bounded number) scaled to [-1, 1]; an `index` packs the digits of one codebook, digit
0 the least significant one.

The grid here has its own bound and the values (digit - L // 2) / (L // 2); an even number of levels reaches -1 but not
1. TAAE's grid is in `fsq_symmetric`. Digits, indices and the continuous stream are the same for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

ATANH_LIMIT = 1.0 - 1e-5  # |value| is clamped to this before atanh, which is finite there also in float32


def bound(z: Tensor, levels: Sequence[int], eps: float = 1e-3, shift: Literal["tan", "atanh"] = "tan") -> Tensor:
    """Squashes z into level units so that rounding gives exactly L levels per dimension.

    The formula is tanh(z + shift) * (L - 1)(1 - eps) / 2 - offset; offset and shift are zero for odd L.

    Args:
        z: [..., d].
        levels: L of each dimension.
        eps: by how much the range is narrower than L - 1 levels; below zero, wider (NeuCodec).
        shift: of z, for even L: atanh(offset / half) maps z = 0 to bounded 0 exactly. CoDiCodec uses the tan instead.

    Returns:
        Bounded numbers [..., d].
    """
    sizes = torch.tensor(levels, device=z.device, dtype=z.dtype)
    half = (sizes - 1) * (1 - eps) / 2
    offset = torch.where(sizes % 2 == 1, 0.0, 0.5).to(z.dtype)
    inverse = torch.tan if shift == "tan" else torch.atanh
    return torch.tanh(z + inverse(offset / half)) * half - offset


def round_straight_through(bounded: Tensor) -> Tensor:
    """Rounds to the nearest integer; the gradient passes as if nothing had been rounded."""
    return bounded + (bounded.round() - bounded).detach()


def half_widths(levels: Sequence[int], like: Tensor) -> Tensor:
    """Returns L // 2 of each dimension: level units divided by it are values in [-1, 1]."""
    return torch.tensor([size // 2 for size in levels], device=like.device, dtype=like.dtype)


def values_to_digits(values: Tensor, levels: Sequence[int]) -> Tensor:
    """Returns the nearest digits [..., d] int64 of values [..., d] in [-1, 1]."""
    half = half_widths(levels, values)
    top = torch.tensor([size - 1 for size in levels], device=values.device)
    digits = (values * half + half).round().to(torch.int64)
    return torch.minimum(digits.clamp_min(0), top)


def digits_to_values(digits: Tensor, levels: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns the values that digits stand for.

    Args:
        digits: [..., d].
        levels: L of each dimension.
        dtype: of the result.

    Returns:
        Values [..., d] in [-1, 1].
    """
    half = torch.tensor([size // 2 for size in levels], device=digits.device, dtype=dtype)
    return (digits.to(dtype) - half) / half


def digits_to_indices(digits: Tensor, levels: Sequence[int]) -> Tensor:
    """Returns indices [...] of digits [..., d] int64: the sum of digit_k times the product of the levels before k."""
    return (digits * _basis(levels, digits.device)).sum(-1)


def indices_to_digits(indices: Tensor, levels: Sequence[int]) -> Tensor:
    """Returns digits [..., d] int64 of indices [...].

    Raises:
        ValueError: an index outside 0..prod(levels)-1.
    """
    check_indices(indices, math.prod(levels))
    sizes = torch.tensor(levels, device=indices.device)
    basis = _basis(levels, indices.device)
    return torch.div(indices.to(torch.int64).unsqueeze(-1), basis, rounding_mode="floor") % sizes


def check_indices(indices: Tensor, size: int) -> None:
    """Raises TypeError or ValueError unless `indices` is an integer tensor with entries in 0..size-1."""
    if indices.is_floating_point() or indices.is_complex() or indices.dtype == torch.bool:
        raise TypeError(f"tokens must be integers, got {indices.dtype}")
    if torch.compiler.is_compiling():  # a graph cannot raise; whoever trains checks the batch before
        return
    indices = indices.to(torch.int64)  # of torch's unsigned types only uint8 has a minimum
    if indices.numel() and not (int(indices.min()) >= 0 and int(indices.max()) < size):
        raise ValueError(
            f"tokens must lie in 0..{size - 1}, got {int(indices.min())}..{int(indices.max())}: "
            "are they of another tokenizer?"
        )


def values_to_latents(values: Tensor, scale: float) -> Tensor:
    """Returns the continuous stream of values in [-1, 1]: atanh(value) / scale, always finite."""
    return torch.atanh(values.clamp(-ATANH_LIMIT, ATANH_LIMIT)) / scale


def latents_to_values(latents: Tensor, scale: float) -> Tensor:
    """Returns values in (-1, 1) of the continuous stream: tanh(scale * latent)."""
    return torch.tanh(latents * scale)


def _basis(levels: Sequence[int], device: torch.device) -> Tensor:
    steps = [math.prod(levels[:k]) for k in range(len(levels))]
    return torch.tensor(steps, dtype=torch.int64, device=device)
