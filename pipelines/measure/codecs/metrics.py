"""Figures of a file under one system, as objects: what the run asks for every reconstruction.

A metric is anything with the figures that it produces and a method that measures one `Case`.
Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from ....core.errors import AudioError
from ...data.audio.item import AudioItem
from ..results import FigureFacts
from .audio import ReadAudio
from .figures.borders import seam_db
from .figures.catalog import OTHER_FIGURES, PAIR_FIGURES, SEAM_FACTS, SEAM_FIGURE, SPEED_FIGURES
from .figures.common import Undefined
from .figures.distances import mel_distance
from .systems import Reconstruction


@dataclass(frozen=True, kw_only=True)
class Case:
    """One file and its reconstruction by one system."""

    item: AudioItem
    system: str
    reference: Tensor  # [C, N]
    made: Reconstruction  # of the shape of the reference
    sample_rate: int  # Hz

    @property
    def estimate(self) -> Tensor:
        """The reconstruction [C, N]."""
        return self.made.audio


class Metric(Protocol):
    """Figures of a file under a system."""

    @property
    def facts(self) -> Mapping[str, FigureFacts]:
        """The figures that it produces."""
        ...

    def measure(self, case: Case) -> Mapping[str, Any]:
        """Returns figure -> number, or the `Undefined` that says why there is none; further texts are kept as well."""
        ...


class PairMetric:
    """A figure of the catalog."""

    def __init__(self, name: str):
        self.name = name
        self.facts = {name: PAIR_FIGURES[name].facts}

    def measure(self, case: Case) -> dict[str, Any]:
        """See `Metric`."""
        try:
            return {self.name: PAIR_FIGURES[self.name].measure(case.reference, case.estimate, case.sample_rate)}
        except Undefined as error:
            return {self.name: error}


class SpeedMetric:
    """Seconds of encoding or decoding per second of audio; None for systems that do not measure them."""

    def __init__(self, name: str):
        self.name = name
        self.facts = {name: SPEED_FIGURES[name]}

    def measure(self, case: Case) -> dict[str, Any]:
        """See `Metric`."""
        spent = case.made.encode_s if self.name == "encode_rtf" else case.made.decode_s
        return {self.name: None if spent is None else spent * case.sample_rate / case.reference.shape[-1]}


class OtherOriginal:
    """Whether a reconstruction is nearer to its own original than to another one, the next file that can be read.

    The ratio of the two distances is weighted by the distance to its own, so that a codec with one output for every
    input has a mean of 1, up to the lengths that are compared.

    Args:
        items: all files that are measured.
        read: reads one of them.
        figures: of `catalog.OTHER_FIGURES`.
    """

    def __init__(self, items: Sequence[AudioItem], read: ReadAudio, figures: Sequence[str] = tuple(OTHER_FIGURES)):
        self.facts = {name: OTHER_FIGURES[name] for name in figures}
        self._items, self._read = items, read
        self._places = {item.name: place for place, item in enumerate(items)}
        self._last: tuple[str, Tensor | None] = "", None  # name of the file, and its other original

    def measure(self, case: Case) -> dict[str, Any]:
        """See `Metric`."""
        if self._last[0] != case.item.name:
            self._last = case.item.name, self._other(case.item)
        other = self._last[1]
        if other is None:
            return dict.fromkeys(self.facts, Undefined("there is no other file to compare with"))
        num_samples = min(other.shape[-1], case.reference.shape[-1])
        estimate = case.estimate[:, :num_samples]
        to_other, to_own = (
            mel_distance(x[:, :num_samples], estimate, case.sample_rate).mean().item() for x in (other, case.reference)
        )
        ratio = to_other / to_own if to_own > 0 else Undefined("the reconstruction has the original's spectrum")
        found = {"other_mel_distance": to_other, "other_own_ratio": ratio}
        return {**{name: found[name] for name in self.facts}, "own_mel_distance": to_own}

    def _other(self, item: AudioItem) -> Tensor | None:
        place = self._places[item.name]
        for candidate in (*self._items[place + 1 :], *self._items[:place]):
            try:
                audio = self._read(candidate)
            except (AudioError, ValueError):
                continue
            if audio.any():
                return audio
        return None


class SeamMetric:
    """The level above 4 kHz at the borders of the codec's chunks; other systems show its reading without a seam.

    Args:
        chunk_samples: from one border to the next.
        lead_samples: see `figures/borders.py`.
    """

    def __init__(self, chunk_samples: int, lead_samples: int):
        self.facts = {SEAM_FIGURE: SEAM_FACTS}
        self._measure = partial(seam_db, chunk_samples=chunk_samples, lead_samples=lead_samples)

    def measure(self, case: Case) -> dict[str, Any]:
        """See `Metric`."""
        try:
            return {SEAM_FIGURE: self._measure(case.estimate, case.sample_rate)}
        except Undefined as error:
            return {SEAM_FIGURE: error}


def catalog_metrics(
    names: Sequence[str], *, items: Sequence[AudioItem], read: ReadAudio, chunk: tuple[int, int] | None
) -> list[Metric]:
    """Returns the metrics that produce figures of the catalog.

    Args:
        names: out of `catalog.ALL_FIGURES`.
        items: all files that are measured, for the distance to another original.
        read: reads one of them.
        chunk: (chunk_samples, lead_samples) of the codec, for `seam_db`.
    """
    found: list[Metric] = []
    for name in names:
        if name in PAIR_FIGURES:
            found.append(PairMetric(name))
        elif name in SPEED_FIGURES:
            found.append(SpeedMetric(name))
        elif name == SEAM_FIGURE and chunk is not None:
            found.append(SeamMetric(*chunk))
    if chosen := [name for name in OTHER_FIGURES if name in names]:
        found.append(OtherOriginal(items, read, chosen))
    return found
