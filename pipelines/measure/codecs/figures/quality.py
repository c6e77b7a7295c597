"""Perceived quality of a reconstruction by standard measures: PESQ, STOI, ESTOI, loudness.

The numbers come from the packages pesq, pystoi and pyloudnorm. Every function takes reference and estimate [C, N] of
one shape and their sample rate, and returns a float or raises `Undefined` with the reason: never NaN, and never a
number for a clip that is too short or silent. PESQ and STOI mix channels to mono and resample to their own rate.

pesq and pystoi are extras: `pip install 'latentune[speech-metrics]'`. Their wrappers in torchmetrics would give the
same numbers, but NaN or an exception of the C code where there is none.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

import numpy as np
from torch import Tensor

from .....layers.loudness import FLOOR_LUFS
from ....data.audio.convert import measure_loudness
from .common import WIDE_RATE, Undefined, check_not_silent, check_pair, require_package, speech_signal

NARROW_RATE = 8_000  # Hz, of narrow-band PESQ
SHORTEST_PESQ_S = 0.25
LOUDNESS_BLOCK_S = 0.4  # gating block of BS.1770


def pesq(reference: Tensor, estimate: Tensor, sample_rate: int, band: Literal["wb", "nb"] = "wb") -> float:
    """Returns PESQ as MOS-LQO: wide band (ITU-T P.862.2, at 16 kHz) or narrow band (P.862.1, at 8 kHz).

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.
        band: `wb` for wide band, `nb` for narrow band.

    Raises:
        Undefined: shorter than 1/4 s, no speech found in the reference, or a silent estimate.
        MissingPackageError: pesq is not installed.
    """
    require_package("pesq")
    from pesq import PesqError
    from pesq import pesq as measure

    check_pair(reference, estimate, sample_rate)
    rate = WIDE_RATE if band == "wb" else NARROW_RATE
    if reference.shape[-1] < SHORTEST_PESQ_S * sample_rate:
        raise Undefined(f"shorter than {SHORTEST_PESQ_S:g} s")
    if not estimate.any():
        raise Undefined("the estimate is digital silence")
    try:
        value = float(
            measure(rate, speech_signal(reference, sample_rate, rate), speech_signal(estimate, sample_rate, rate), band)
        )
    except PesqError as error:
        reason = error.args[0] if error.args else error
        raise Undefined(reason.decode() if isinstance(reason, bytes) else str(reason)) from error
    return _finite(value, "PESQ")


def stoi(reference: Tensor, estimate: Tensor, sample_rate: int, *, extended: bool = False) -> float:
    """Returns the short-time objective intelligibility (Taal et al. 2011).

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.
        extended: returns ESTOI (Jensen and Taal 2016) instead.

    Raises:
        Undefined: less than about 0.4 s of the reference is not silence.
        MissingPackageError: pystoi is not installed.
    """
    require_package("pystoi")
    from pystoi import stoi as measure

    check_pair(reference, estimate, sample_rate)
    check_not_silent(reference)
    pair = [speech_signal(x, sample_rate, WIDE_RATE) for x in (reference, estimate)]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("error", RuntimeWarning)  # the package warns, and gives a number all the same
        try:
            value = float(measure(*pair, WIDE_RATE, extended=extended))
        except RuntimeWarning as error:
            raise Undefined("less than 0.4 s of the reference is not silence") from error
        except ValueError as error:  # clips shorter than one of its frames
            raise Undefined("shorter than a frame of STOI") from error
    return _finite(value, "STOI")


def loudness_error_lu(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Returns how far the integrated loudness (ITU-R BS.1770-4) of the estimate is from the reference's, in LU, >= 0.

    Args:
        reference: the original audio [C, N].
        estimate: its reconstruction [C, N].
        sample_rate: of both, in Hz.

    Raises:
        Undefined: shorter than a gating block of 0.4 s, or one of the two below -70 LUFS.
    """
    check_pair(reference, estimate, sample_rate)
    if reference.shape[-1] < LOUDNESS_BLOCK_S * sample_rate:
        raise Undefined(f"shorter than a gating block of {LOUDNESS_BLOCK_S:g} s")
    levels = {}
    for name, audio in (("reference", reference), ("estimate", estimate)):
        levels[name] = measure_loudness(audio, sample_rate)
        if not levels[name] > FLOOR_LUFS:
            raise Undefined(f"the {name} is silent (below {FLOOR_LUFS:g} LUFS)")
    return abs(levels["estimate"] - levels["reference"])


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise Undefined(f"{name} has no value for this pair")
    return value
