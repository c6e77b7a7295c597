"""Where the windows of an embedder lie in a piece of audio.

Shape letters: N samples.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ...core.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_OVERLAP = 0.5  # of neighboring windows, as a share of a window


def spans(audio: Tensor, window_samples: int, overlap: float) -> list[Tensor]:
    """Returns windows of audio [N], evenly spaced, so that they cover it whole and neighbors overlap by `overlap`.

    They overlap by more where that takes them to the end. Audio that is not longer than a window is returned as it is.

    Args:
        audio: [N].
        window_samples: of a window.
        overlap: as a share of a window, 0 to 1, 1 excluded.
    """
    free = audio.shape[-1] - window_samples
    if free <= 0:
        return [audio]
    num_steps = math.ceil(free / (window_samples * (1 - overlap)))
    starts = [round(free * step / num_steps) for step in range(num_steps + 1)]
    return [audio[start : start + window_samples] for start in starts]


def check_overlap(overlap: float) -> None:
    """Raises ConfigError unless windows can overlap by that share."""
    if not 0 <= overlap < 1:
        raise ConfigError(f"windows overlap by a share of 0 to 1, 1 excluded, got {overlap}")
