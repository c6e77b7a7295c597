"""Rotary positions (Su et al., arXiv 2104.09864) as pure functions.

Angles are computed where they are used and never stored, so a model kept in half precision turns by the same angles.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_angles(positions: Tensor, rotary_dim: int, base: float) -> Tensor:
    """Positions [...] to the angles [..., rotary_dim / 2] of each pair of features, float32.

    Raises:
        ValueError: an odd rotary_dim.
    """
    if rotary_dim % 2:
        raise ValueError(f"rotary positions turn pairs of features: the dimension {rotary_dim} must be even")
    exponents = torch.arange(0, rotary_dim, 2, device=positions.device, dtype=torch.float32) / rotary_dim
    return positions.to(torch.float32).unsqueeze(-1) * base**-exponents


def rotate_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (0, R), (1, R + 1), ... among the first 2R features of x [..., E]; the others pass. Float32.

    Args:
        cos, sin: of the angles, in a shape that broadcasts with [..., R].
    """
    half = cos.shape[-1]
    first, second, rest = x.float().split((half, half, x.shape[-1] - 2 * half), dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)
