"""Rotary positions (Su et al., arXiv 2104.09864) as pure functions.

Angles are computed where they are used and never stored, so a model kept in half precision turns by the same angles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.rotary import rotary_angles


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring pairs of the last axis of x [..., T, head_dim] by angles [T, head_dim / 2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2).to(x.dtype)


def rotary_for_x_transformers(num_positions: int, head_dim: int, base: float, like: Tensor) -> tuple[Tensor, float]:
    """The `rotary_pos_emb` argument of x-transformers' layers for positions 0..num_positions-1."""
    positions = torch.arange(num_positions, device=like.device)
    return rotary_angles(positions, head_dim, base).repeat_interleave(2, -1).unsqueeze(0), 1.0
