"""Pitch of a reconstruction against that of the original, by the network SwiftF0 (MIT licence, package swift-f0).

swift-f0 is an extra, 0.1 MB with its weights: `pip install '.[speech-metrics]'`.
Shape letters: C channels, N samples, T frames.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from .common import WIDE_RATE, Undefined, check_not_silent, check_pair, require_package, speech_signal

RANGE_HZ = (60.0, 500.0)  # of voices
VOICED_CONFIDENCE = 0.5  # as the package calibrates it
GROSS_ERROR = 0.2  # of the pitch of the reference
FEWEST_FRAMES = 10  # of voiced speech: 0.16 s


def pitch_hz(audio: Tensor, sample_rate: int) -> np.ndarray:
    """Returns the pitch of audio [C, N] in frames of 16 ms, [T] float64; 0 where a frame is not voiced.

    Raises:
        MissingPackageError: swift-f0 is not installed.
    """
    found = _detector().detect(speech_signal(audio, sample_rate).astype(np.float32), WIDE_RATE, *RANGE_HZ)
    return np.where(found.confidence >= VOICED_CONFIDENCE, found.pitch_hz, 0.0)


def gross_pitch_error(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Returns the share of the reference's voiced frames whose pitch is off by more than 20 %, or absent, 0 to 1.

    It is meant for voices and single instruments. Frames that only the estimate has voiced do not count. The tracker is
    not the one of `layers.pitch`: a codec that uses that one must not be graded by it.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.

    Raises:
        Undefined: fewer than 10 frames of the reference are voiced.
        MissingPackageError: swift-f0 is not installed.
    """
    check_pair(reference, estimate, sample_rate)
    check_not_silent(reference)
    wanted, made = (pitch_hz(x, sample_rate) for x in (reference, estimate))
    voiced = wanted > 0
    if voiced.sum() < FEWEST_FRAMES:
        raise Undefined(f"fewer than {FEWEST_FRAMES} voiced frames in the reference")
    return float((np.abs(made - wanted)[voiced] > GROSS_ERROR * wanted[voiced]).mean())


@lru_cache(maxsize=1)
def _detector() -> Any:
    require_package("swift_f0")
    from swift_f0 import SwiftF0

    return SwiftF0()
