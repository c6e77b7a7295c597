"""Diffusion times: how networks see them, their grid in sampling, and the shift by length.

Shape letters: B batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

TIME_FEATURES = 256  # sinusoids of a diffusion time


def time_features(t: Tensor) -> Tensor:
    """Returns sinusoids [..., TIME_FEATURES] float32 of the diffusion time t [...] in [0, 1] as in DiT."""
    half = TIME_FEATURES // 2
    frequencies = torch.exp(-math.log(10_000.0) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angles = 1000.0 * t.float().unsqueeze(-1) * frequencies
    return torch.cat([angles.cos(), angles.sin()], -1)


def shift_times(t: Tensor, factor: Tensor | float) -> Tensor:
    """Returns times in [0, 1] moved towards noise by a factor above 1: a t / (1 + (a - 1) t).

    Esser et al. (SD3, arXiv 2403.03206, equation 23): a signal of more values needs more noise to be hidden as well.
    """
    return factor * t / (1.0 + (factor - 1.0) * t)


def shift_factor(num_frames: float, time_shift: float, shift_frames: int | None) -> float:
    """Returns the factor for an item.

    Args:
        num_frames: length of the item in latent frames.
        time_shift: the factor of every item, or of those of `shift_frames`.
        shift_frames: the length whose factor is `time_shift`; the factor grows with the square root of the length.
            None: the length has no effect.
    """
    return time_shift if shift_frames is None else time_shift * math.sqrt(num_frames / shift_frames)


def time_grid(start: float, steps: int, factor: float) -> list[float]:
    """Returns times from `start` down to 0, which are evenly spaced before the shift.

    Args:
        start: the first time.
        steps: how many steps lie between the times, of which there is one more.
        factor: of the shift.
    """
    unshifted = float(shift_times(torch.tensor(start, dtype=torch.float64), 1.0 / factor))
    even = torch.linspace(unshifted, 0.0, steps + 1, dtype=torch.float64)
    return [start, *shift_times(even, factor)[1:].tolist()]


def check_shift(time_shift: float, shift_frames: int | None) -> None:
    """Raises ValueError unless the shift is one that `shift_factor` takes."""
    if not (math.isfinite(time_shift) and time_shift > 0):
        raise ValueError(f"time_shift must be above 0, got {time_shift}: 1 shifts nothing")
    if shift_frames is not None and shift_frames < 1:
        raise ValueError(f"shift_frames must be at least 1, got {shift_frames}")
