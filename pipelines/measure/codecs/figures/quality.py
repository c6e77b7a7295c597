"""Perceived quality of a reconstruction by standard measures: PESQ, STOI, ESTOI, loudness.

The numbers come from the packages pesq, pystoi and pyloudnorm. Every function takes reference and estimate [C, N] of
one shape and their sample rate, and returns a float or raises `Undefined` with the reason: never NaN, and never a
number for a clip that is too short or silent. PESQ and STOI mix channels to mono and resample to their own rate.

pesq and pystoi are extras: `pip install '.[speech-metrics]'`. Their wrappers in torchmetrics would give the
same numbers, but NaN or an exception of the C code where there is none.
"""

from __future__ import annotations

import math
import warnings
from itertools import pairwise
from typing import Literal

import numpy as np
from torch import Tensor

from .....layers.loudness import FLOOR_LUFS
from ....data.audio.convert import measure_loudness
from .common import WIDE_RATE, Undefined, check_not_silent, check_pair, require_package, speech_signal

NARROW_RATE = 8_000  # Hz, of narrow-band PESQ
SHORTEST_PESQ_S = 0.25
PESQ_PIECE_S = 19.0
SAFE_UTTERANCES = 40  # by a count that is not that of PESQ itself
PAUSE_FRAMES = 40  # of 4 ms, a little shorter than the pauses that PESQ counts
LOUDNESS_BLOCK_S = 0.4  # gating block of BS.1770


def pesq(reference: Tensor, estimate: Tensor, sample_rate: int, band: Literal["wb", "nb"] = "wb") -> float:
    """Returns PESQ as MOS-LQO: wide band (ITU-T P.862.2, at 16 kHz) or narrow band (P.862.1, at 8 kHz).

    A long recording with many utterances is measured in pieces, whose mean is returned.

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
    original, copy = (speech_signal(audio, sample_rate, rate) for audio in (reference, estimate))
    values, reason = [], ""
    for part in _pesq_parts(original, rate):
        try:
            values.append(measure(rate, original[part], copy[part], band))
        except PesqError as error:  # of a piece without speech, where there are others
            text = error.args[0] if error.args else error
            reason = text.decode() if isinstance(text, bytes) else str(text)
    if not values:
        raise Undefined(reason)
    return _finite(float(np.mean(values)), "PESQ")


def _pesq_parts(original: np.ndarray, rate: int) -> list[slice]:
    """Returns the parts of a recording that PESQ is measured on: all of it, or pieces of equal length.

    The C code of the package has room for 50 utterances and overruns its arrays beyond. An utterance and the pause
    after it have at least 0.2 s each (constants MINUTTLENGTH and JOINSPEECHLGTH of P.862), so a piece of 19 s is safe.

    Args:
        original: samples [N].
        rate: in Hz.
    """
    num_pieces = max(1, math.ceil(len(original) / (PESQ_PIECE_S * rate)))
    if num_pieces == 1 or _most_utterances(original, rate) <= SAFE_UTTERANCES:
        return [slice(None)]
    cuts = np.linspace(0, len(original), num_pieces + 1).round().astype(int)
    return [slice(begin, end) for begin, end in pairwise(cuts)]


def _most_utterances(original: np.ndarray, rate: int) -> int:
    """Returns the greatest number of runs of loud frames, for any level that separates them from pauses of 0.2 s."""
    frame = round(0.004 * rate)
    power = np.square(original[: len(original) // frame * frame].astype(np.float64)).reshape(-1, frame).mean(1)
    most = 0
    for level_db in range(-60, -5, 5):
        loud = np.flatnonzero(power > power.max() * 10 ** (level_db / 10))
        most = max(most, 1 + int((np.diff(loud) > PAUSE_FRAMES).sum()))
    return most


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
