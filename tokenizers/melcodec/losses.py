"""The distance of a predicted pitch to the original's. Shape letters: B batch, T frames."""

from __future__ import annotations

import torch
from torch import Tensor

from .excitation import MIDDLE_OCTAVE_HZ


def pitch_term(octave: Tensor, pitch_hz: Tensor) -> Tensor:
    """Mean absolute difference in octaves of a predicted pitch [B, T] and `pitch_hz` [B, T], where that is above 0."""
    voiced = pitch_hz > 0
    wanted = torch.where(voiced, pitch_hz / MIDDLE_OCTAVE_HZ, 1.0).log2()
    return ((octave - wanted).abs() * voiced).sum() / voiced.sum().clamp_min(1)
