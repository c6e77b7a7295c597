"""Figures of a reconstruction that follow what a listener notices first: level, bands, envelopes.

Every function takes reference and estimate [C, N] of one shape and their sample rate, and returns a float or raises
`Undefined` with the reason. Channels are measured one by one and averaged.

Shape letters: C channels, N samples, M mel bands, T frames.
"""

from __future__ import annotations

import math

from torch import Tensor

from .....layers.mel import mel_filters
from .....layers.stft import stft
from ....data.audio.convert import resample
from .common import Undefined, check_not_silent, check_pair
from .distances import mel_distance

LOW_RATE = 8_000  # Hz: what remains at it lies below 4 kHz
ENVELOPE_BANDS = 16
ENVELOPE_WINDOW_S = 0.032
ENVELOPE_FLOOR = 1e-3  # of the loudest band magnitude of each of the two: what is 60 dB below it counts as silence
LEAST_CHANGE_NEPERS = 0.1  # standard deviation of a log envelope over time; below it a band is constant


def level_difference_db(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Returns the power of the estimate over that of the reference in dB: 0 is right, negative is too quiet.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.

    Raises:
        Undefined: one of the two is digital silence.
    """
    check_pair(reference, estimate, sample_rate)
    check_not_silent(reference)
    powers = [float(x.double().square().mean()) for x in (reference, estimate)]
    if not min(powers) > 0:
        raise Undefined("the estimate is digital silence")
    return 10.0 * math.log10(powers[1] / powers[0])


def low_mel_distance(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Returns the mel distance of what lies below 4 kHz: both are resampled to 8 kHz.

    At this rate the window of the distance, 2048 samples, lasts 256 ms. It shows harmonics more than onsets.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.
    """
    check_pair(reference, estimate, sample_rate)
    low = [resample(x, sample_rate, LOW_RATE) for x in (reference, estimate)]
    return float(mel_distance(low[0], low[1], LOW_RATE).mean())


def envelope_correlation(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Returns the mean correlation over time of the log envelopes of 16 mel bands in frames of 32 ms, -1 to 1.

    Bands of the reference that do not change are left out. It does not depend on the level, nor on the spectral tilt.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.

    Raises:
        Undefined: the reference is silent, shorter than three frames, or none of its bands changes.
    """
    check_pair(reference, estimate, sample_rate)
    check_not_silent(reference)
    window = 2 * max(1, round(ENVELOPE_WINDOW_S * sample_rate / 2))
    filters = mel_filters(sample_rate, window, ENVELOPE_BANDS).float()
    if reference.shape[-1] < 2 * window:
        raise Undefined("shorter than three frames of 32 ms")
    pair = (reference.float(), estimate.float())
    bands = [filters @ stft(x, window, window // 2, nyquist=True).abs() for x in pair]  # [C, M, T]
    floors = [ENVELOPE_FLOOR * float(x.max()) for x in bands]
    logs = [x.clamp_min(max(floor, 1e-30)).log() for x, floor in zip(bands, floors, strict=True)]
    centred = [x - x.mean(-1, keepdim=True) for x in logs]
    spreads = [x.square().mean(-1).sqrt() for x in centred]  # [C, M]
    changing = spreads[0] > LEAST_CHANGE_NEPERS
    if not changing.any():
        raise Undefined("no band of the reference changes over time")
    products = (centred[0] * centred[1]).mean(-1) / (spreads[0] * spreads[1]).clamp_min(1e-9)
    return float(products[changing].mean())
