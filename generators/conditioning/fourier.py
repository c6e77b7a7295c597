"""A number as a vector: Fourier features through a small network. Shape letters: B batch, F features, W width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

NUM_FREQUENCIES = 10


def fourier_features(position: Tensor) -> Tensor:
    """Returns sines and cosines [B, 2 * NUM_FREQUENCIES] float32 of positions [B], which lie around 0..1.

    The lowest frequency turns by a quarter from 0 to 1, so that positions beyond the range still differ; each further
    one is an octave higher.
    """
    octaves = 2.0 ** torch.arange(NUM_FREQUENCIES, device=position.device)
    angles = math.pi / 2 * position[:, None] * octaves
    return torch.cat([angles.sin(), angles.cos()], -1)


def feature_network(width: int) -> nn.Sequential:
    """Returns the network from Fourier features to vectors [B, W]."""
    return nn.Sequential(nn.Linear(2 * NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))


def embed_number(network: nn.Module, position: Tensor, absent: Tensor, null: Tensor) -> Tensor:
    """Computes the vector of a number, or a learned one where the number is absent.

    Args:
        network: as of `feature_network`.
        position: [B] the numbers, around 0..1.
        absent: [B] bool, True where the number is left out or dropped.
        null: [W] the vector of an absent number.

    Returns:
        [B, W].
    """
    vector = network(fourier_features(position).to(null.dtype))
    return torch.where(absent[:, None], null.to(vector.dtype), vector)
