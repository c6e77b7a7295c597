"""The figures of a reconstruction by name: how they are measured, their unit, and which direction is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from .....core.extras import is_installed
from ...results import FigureFacts
from .common import not_installed
from .distances import (
    mel_distance,
    multi_resolution_mel_distance,
    multi_resolution_stft_distance,
    si_sdr_db,
    stft_distance,
)
from .listening import envelope_correlation, level_difference_db, low_mel_distance
from .pitch import gross_pitch_error
from .quality import loudness_error_lu, pesq, stoi

Measure = Callable[[Tensor, Tensor, int], float]  # reference and estimate [C, N], sample rate


@dataclass(frozen=True, kw_only=True)
class PairFigure:
    """One figure of a reconstruction and its original."""

    facts: FigureFacts
    measure: Measure  # raises `Undefined` where the audio has no value
    package: str | None = None  # optional one that it needs


def _lower(title: str, measure: Measure, *, unit: str = "", package: str | None = None) -> PairFigure:
    return PairFigure(facts=FigureFacts(title=title, better="lower", unit=unit), measure=measure, package=package)


def _higher(title: str, measure: Measure, *, unit: str = "", package: str | None = None) -> PairFigure:
    return PairFigure(facts=FigureFacts(title=title, better="higher", unit=unit), measure=measure, package=package)


# Figures of a file are means over its channels; SI-SDR takes them as one signal.
PAIR_FIGURES: dict[str, PairFigure] = {
    "mel_distance": _lower("mel distance", lambda r, e, rate: mel_distance(r, e, rate).mean().item()),
    "stft_distance": _lower("STFT distance", lambda r, e, rate: stft_distance(r, e).mean().item()),
    "si_sdr_db": _higher("SI-SDR", lambda r, e, rate: si_sdr_db(r.flatten(), e.flatten()).item(), unit="dB"),
    "multi_resolution_mel_distance": _lower(
        "multi-resolution mel distance", lambda r, e, rate: multi_resolution_mel_distance(r, e, rate).mean().item()
    ),
    "multi_resolution_stft_distance": _lower(
        "multi-resolution STFT distance", lambda r, e, rate: multi_resolution_stft_distance(r, e).mean().item()
    ),
    "pesq_wb": _higher("PESQ, wide band", partial(pesq, band="wb"), package="pesq"),
    "pesq_nb": _higher("PESQ, narrow band", partial(pesq, band="nb"), package="pesq"),
    "stoi": _higher("STOI", stoi, package="pystoi"),
    "estoi": _higher("ESTOI", partial(stoi, extended=True), package="pystoi"),
    "loudness_error_lu": _lower("loudness error", loudness_error_lu, unit="LU"),
    "low_mel_distance": _lower("mel distance at 0-4 kHz", low_mel_distance),
    "envelope_correlation": _higher("correlation of 16-band envelopes", envelope_correlation),
    "gross_pitch_error": _lower("gross pitch error of voiced frames", gross_pitch_error, package="swift_f0"),
    "level_difference_db": PairFigure(
        facts=FigureFacts(title="level difference", better="zero", unit="dB"), measure=level_difference_db
    ),
}
SIGNAL_FIGURES = ("mel_distance", "stft_distance", "si_sdr_db")
# Of the codec's own streams alone: seconds of computing per second of audio
SPEED_FIGURES = {
    "encode_rtf": FigureFacts(title="encoding time per second of audio", better="lower"),
    "decode_rtf": FigureFacts(title="decoding time per second of audio", better="lower"),
}
# Of one file against another (other.py) and against the codec's chunks (seam.py)
OTHER_FIGURES = {
    "other_mel_distance": FigureFacts(title="mel distance to another original", better="higher"),
    "other_own_ratio": FigureFacts(title="mel distance to another original over that to its own", better="higher"),
}
SEAM_FIGURE = "seam_db"
SEAM_FACTS = FigureFacts(title="level above 4 kHz at borders of chunks over its median", better="zero", unit="dB")
ALL_FIGURES = (*PAIR_FIGURES, *OTHER_FIGURES, SEAM_FIGURE, *SPEED_FIGURES)


def check_figures(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the names, each once. Raises ValueError for none or an unknown one, and lists the known."""
    chosen = tuple(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in ALL_FIGURES]
    if unknown or not chosen:
        what = f"no figure is called {unknown[0]!r}" if unknown else "no figure to measure"
        raise ValueError(f"{what}: choose from {', '.join(ALL_FIGURES)}")
    return chosen


def split_available(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Returns the figures whose packages are installed, and for the others the reason why they cannot be measured."""
    absent = {
        name: not_installed(package)
        for name in names
        if (package := PAIR_FIGURES[name].package if name in PAIR_FIGURES else None) and not is_installed(package)
    }
    return tuple(name for name in names if name not in absent), absent
