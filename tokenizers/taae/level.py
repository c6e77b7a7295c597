"""The loudness that TAAE brings audio to before it is encoded. Shape letters: B batch, C audio channels, N samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers.loudness import loudness_gain_db

QUIET_POWER = 1e-6  # mean square below which the official wrapper leaves audio as it is
PEAK = 0.95  # of a peak that normalisation would bring beyond 1


def gain_db(audio: Tensor, sample_rate: int, target_lufs: float, num_samples: int | None = None) -> float:
    """Returns the gain in dB that brings audio [C, N] to a loudness; see `layers.loudness.loudness_gain_db`."""
    return loudness_gain_db(audio, sample_rate, target_lufs, peak=PEAK, min_power=QUIET_POWER, num_samples=num_samples)


def gains_db(audio: Tensor, lengths: Sequence[int], sample_rate: int, target_lufs: float | None) -> Tensor:
    """Returns the gain of each item that brings it to a loudness.

    Args:
        audio: [B, C, N].
        lengths: samples of each item, silence beyond N included.
        sample_rate: in Hz.
        target_lufs: the loudness; None: every gain is 0 dB.

    Returns:
        [B] in dB.
    """
    if target_lufs is None:
        return torch.zeros(len(audio))
    pairs = zip(audio, lengths, strict=True)
    return torch.tensor([gain_db(item, sample_rate, target_lufs, length) for item, length in pairs])
