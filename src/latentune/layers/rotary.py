"""Rotary positions (Su et al., arXiv 2104.09864) as pure functions.

Angles are computed where they are used and never stored, so that a model kept in half precision rotates by the same
angles. Shape letters: T positions, R rotated pairs of features, E features of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, rotary_dim: int, base: float) -> Tensor:
    """Returns the float32 angle of each pair of features at each position.

    Args:
        positions: [...] positions, integers or not.
        rotary_dim: features that are rotated, 2 R.
        base: ratio of the longest to the shortest wavelength, nearly.

    Returns:
        Angles [..., R].

    Raises:
        ValueError: `rotary_dim` is odd.
    """
    if rotary_dim % 2:
        raise ValueError(f"rotary positions rotate pairs of features: the dimension {rotary_dim} must be even")
    exponents = torch.arange(0, rotary_dim, 2, device=positions.device, dtype=torch.float32) / rotary_dim
    return positions.to(torch.float32).unsqueeze(-1) * base**-exponents


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (0, R), (1, R + 1), ... among the first 2 R features of x; the other features pass.

    Args:
        x: [..., E].
        cos: of the angles, in a shape that broadcasts to [..., R].
        sin: of the angles, likewise.

    Returns:
        [..., E] in float32.
    """
    half = cos.shape[-1]
    first, second, rest = x.float().split((half, half, x.shape[-1] - 2 * half), dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


def rotate_pairs(x: Tensor, angles: Tensor) -> Tensor:
    """Rotates the pairs (0, 1), (2, 3), ... of x [..., T, E] by angles [T, E / 2]; returns the dtype of x."""
    return turn_pairs(x, turns_of(angles))


def turns_of(angles: Tensor) -> Tensor:
    """Returns the cosines and sines [..., 2] of angles [...], which `turn_pairs` takes."""
    return torch.stack((angles.cos(), angles.sin()), -1)


def turn_pairs(x: Tensor, turns: Tensor) -> Tensor:
    """Rotates as `rotate_pairs`, by turns that are computed once for many calls.

    Args:
        x: [..., E].
        turns: of `turns_of`, in a shape that broadcasts to [..., E / 2, 2].

    Returns:
        [..., E], of the dtype of x.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if not torch.compiler.is_compiling():  # inductor makes no kernels of complex numbers
        turned = torch.view_as_complex(pairs) * torch.view_as_complex(turns)
        return torch.view_as_real(turned).flatten(-2).to(x.dtype)
    even, odd = pairs.unbind(-1)
    cos, sin = turns.unbind(-1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def rotary_for_x_transformers(num_positions: int, head_dim: int, base: float, like: Tensor) -> tuple[Tensor, float]:
    """Returns the `rotary_pos_emb` argument of x-transformers' layers, which rotate as `rotate_pairs` does.

    Args:
        num_positions: T; the positions are 0 ... T - 1.
        head_dim: features that are rotated.
        base: as of `rotary_angles`.
        like: a tensor on the device of the result.

    Returns:
        Angles [1, T, head_dim], each for both features of its pair, and the scale 1.

    Raises:
        ValueError: `head_dim` is odd.
    """
    positions = torch.arange(num_positions, device=like.device)
    return rotary_angles(positions, head_dim, base).repeat_interleave(2, -1).unsqueeze(0), 1.0
