"""The figures of a reconstruction and its original, by name: how they are measured, their unit, which way is better."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

from torch import Tensor

from .common import INSTALL
from .distances import (
    mel_distance,
    multi_resolution_mel_distance,
    multi_resolution_stft_distance,
    si_sdr_db,
    stft_distance,
)
from .quality import loudness_error_lu, pesq, stoi

Measure = Callable[[Tensor, Tensor, int], float]  # reference and estimate [C, N], sample rate


@dataclass(frozen=True, kw_only=True)
class PairFigure:
    """One figure of a reconstruction and its original."""

    title: str
    better: Literal["lower", "higher"]
    measure: Measure  # raises `Undefined` where the audio has no value
    unit: str = ""
    package: str | None = None  # optional one that it needs


# Figures of a file are means over its channels; SI-SDR takes them as one signal.
PAIR_FIGURES: dict[str, PairFigure] = {
    "mel_distance": PairFigure(
        title="mel distance", better="lower", measure=lambda r, e, rate: mel_distance(r, e, rate).mean().item()
    ),
    "stft_distance": PairFigure(
        title="STFT distance", better="lower", measure=lambda r, e, rate: stft_distance(r, e).mean().item()
    ),
    "si_sdr_db": PairFigure(
        title="SI-SDR",
        unit="dB",
        better="higher",
        measure=lambda r, e, rate: si_sdr_db(r.flatten(), e.flatten()).item(),
    ),
    "multi_resolution_mel_distance": PairFigure(
        title="multi-resolution mel distance",
        better="lower",
        measure=lambda r, e, rate: multi_resolution_mel_distance(r, e, rate).mean().item(),
    ),
    "multi_resolution_stft_distance": PairFigure(
        title="multi-resolution STFT distance",
        better="lower",
        measure=lambda r, e, rate: multi_resolution_stft_distance(r, e).mean().item(),
    ),
    "pesq_wb": PairFigure(title="PESQ, wide band", better="higher", measure=partial(pesq, band="wb"), package="pesq"),
    "pesq_nb": PairFigure(title="PESQ, narrow band", better="higher", measure=partial(pesq, band="nb"), package="pesq"),
    "stoi": PairFigure(title="STOI", better="higher", measure=stoi, package="pystoi"),
    "estoi": PairFigure(title="ESTOI", better="higher", measure=partial(stoi, extended=True), package="pystoi"),
    "loudness_error_lu": PairFigure(title="loudness error", unit="LU", better="lower", measure=loudness_error_lu),
}
SIGNAL_FIGURES = ("mel_distance", "stft_distance", "si_sdr_db")
# seconds of computing per second of audio; of codecs alone
SPEED_FIGURES = ("encode_rtf", "decode_rtf")
ALL_FIGURES = (*PAIR_FIGURES, *SPEED_FIGURES)


HIGHER_OF_SPEECH = ("speaker_similarity", "mos")


def figure_heading(name: str) -> str:
    """The name of a figure, also of one of speech, with the way that is better."""
    higher = PAIR_FIGURES[name].better == "higher" if name in PAIR_FIGURES else name in HIGHER_OF_SPEECH
    return f"{name} {'↑' if higher else '↓'}"


def figure_title(name: str) -> str:
    """The figure in words, with its unit."""
    if name not in PAIR_FIGURES:
        return name
    facts = PAIR_FIGURES[name]
    return f"{facts.title} ({facts.unit})" if facts.unit else facts.title


def check_figures(names: Iterable[str]) -> tuple[str, ...]:
    """The names, each once. Raises ValueError for none or an unknown one, and lists the known."""
    chosen = tuple(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in ALL_FIGURES]
    if unknown or not chosen:
        what = f"no figure is called {unknown[0]!r}" if unknown else "no figure to measure"
        raise ValueError(f"{what}: choose from {', '.join(ALL_FIGURES)}")
    return chosen


def split_available(names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The figures whose packages are installed, and of the others the reason why they cannot be measured."""
    absent = {
        name: f"{package} is not installed: {INSTALL}"
        for name in names
        if (package := PAIR_FIGURES[name].package if name in PAIR_FIGURES else None) and find_spec(package) is None
    }
    return tuple(name for name in names if name not in absent), absent
