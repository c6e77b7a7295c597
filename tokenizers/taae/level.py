"""The loudness that TAAE brings audio to before it is encoded. Shape letters: B batch, C audio channels, N samples."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers.loudness import loudness_gain_db

QUIET_POWER = 1e-6  # mean square below which the official wrapper leaves audio as it is
PEAK = 0.95  # of a peak that normalisation would bring beyond 1


def gains_db(audio: Tensor, lengths: Sequence[int], sample_rate: int, target_lufs: float | None) -> Tensor:
    """Returns the gain of each item that brings it to a loudness.

    Args:
        audio: [B, C, N].
        lengths: samples of each item.
        sample_rate: in Hz.
        target_lufs: the loudness; None: every gain is 0 dB.

    Returns:
        [B] in dB.
    """
    if target_lufs is None:
        return torch.zeros(len(audio))
    rules = {"peak": PEAK, "min_power": QUIET_POWER}
    parts = [item[:, :length] for item, length in zip(audio, lengths, strict=True)]
    return torch.tensor([loudness_gain_db(part, sample_rate, target_lufs, **rules) for part in parts])
