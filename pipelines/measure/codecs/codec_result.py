"""What the reconstructions of a codec came to: rows a file, and what is said of all files."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..metrics.factored import FileFrechetDistance
from ..results.intervals import PairedDifference, bootstrap_interval, paired_bootstrap
from .figures.catalog import SIGNAL_FIGURES

SCHEMA = "latentune-reconstruction-1"
KEYS = ("system", "file", "seconds")
LENGTH_EDGES_S = (3.0, 5.0, 10.0, 15.0, 20.0, 25.0)  # of the bins in which TAAE's appendix A.6 looks at lengths
DISTANCE_RESAMPLES = 200  # each costs a distance, as those of `latentune evaluate` do
# figures that are shares: the mean over files weighs each by its denominator, which makes it the corpus's share
WEIGHTS = {"wer": "num_words", "cer": "num_characters"}

Row = dict[str, Any]


@dataclass(kw_only=True)
class ReconstructionResult:
    """Figures of each file under each system."""

    rows: list[Row] = field(default_factory=list)  # KEYS, figures; None: has no value, see `undefined`
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: files that could not be read
    figures: tuple[str, ...] = SIGNAL_FIGURES
    silent: list[str] = field(default_factory=list)  # files of digital silence; they are measured
    undefined: list[dict[str, str]] = field(default_factory=list)  # system, file, figure, reason
    absent_figures: dict[str, str] = field(default_factory=dict)  # figure -> why it could not be measured at all
    models: dict[str, str] = field(default_factory=dict)  # figure -> the model that made it, where one did
    codec: dict[str, Any] | None = None  # rates of the codec and what its tokens carry
    frechet: dict[str, Any] | None = None  # distance of each system's reconstructions to the originals
    frechet_of_files: dict[str, FileFrechetDistance] = field(default_factory=dict, repr=False)  # the same of any files

    @property
    def systems(self) -> list[str]:
        """Names in the systems' order."""
        return list(dict.fromkeys(row["system"] for row in self.rows))

    def means(self) -> list[Row]:
        """One row a system: system, num_files, and the mean of each figure over the files that have it, else None."""
        return [
            {"system": name, "num_files": len(rows), **{figure: mean(rows, figure) for figure in self.figures}}
            for name, rows in self._groups()
        ]

    def summary(self, *, confidence: float = 0.95, seed: int = 0) -> list[Row]:
        """One row a system: system, num_files, and of each figure its mean with a bootstrap interval over files.

        A figure is {mean, low, high, num_values, num_missing}; low and high are None below two values.
        """
        return [_summarise({"system": name}, rows, self.figures, confidence, seed) for name, rows in self._groups()]

    def by_length(
        self, edges_s: Sequence[float] = LENGTH_EDGES_S, *, confidence: float = 0.95, seed: int = 0
    ) -> list[Row]:
        """As `summary`, one row a system and bin of lengths: from_s <= seconds < to_s, the outermost bins open.

        A bin without a file is there too, with num_files 0.

        Raises:
            ValueError: edges that do not rise.
        """
        check_edges(edges_s)
        found = []
        for name, rows in self._groups():
            for low, high in zip((0.0, *edges_s), (*edges_s, None), strict=True):
                part = [row for row in rows if low <= row["seconds"] and (high is None or row["seconds"] < high)]
                keys = {"system": name, "from_s": low, "to_s": high}
                found.append(_summarise(keys, part, self.figures, confidence, seed))
        return found

    def frechet_intervals(
        self, *, confidence: float = 0.95, seed: int = 0
    ) -> dict[str, tuple[float | None, float | None]]:
        """Of each system's Fréchet distance, the bootstrap interval over files; (None, None) below two of them."""
        if self.frechet is None:
            return {}
        found: dict[str, tuple[float | None, float | None]] = {}
        for name, value in self.frechet["values"].items():
            distance = self.frechet_of_files.get(name)
            if distance is None or len(distance.num_windows) < 2:
                found[name] = None, None
                continue
            ends = bootstrap_interval(
                range(len(distance.num_windows)),
                distance,
                num_resamples=DISTANCE_RESAMPLES,
                confidence=confidence,
                centre=True,
                bounds=(0.0, math.inf),
                seed=seed,
            )
            found[name] = min(ends.low, value), max(ends.high, value)  # the value is rounded in another way
        return found

    def frechet_difference(
        self, first: str, other: str, *, confidence: float = 0.95, seed: int = 0
    ) -> PairedDifference | None:
        """The Fréchet distance of system `other` less that of `first` on the same drawn files; None below two files."""
        one, two = self.frechet_of_files.get(first), self.frechet_of_files.get(other)
        if one is None or two is None or min(len(one.num_windows), len(two.num_windows)) < 2:
            return None
        return paired_bootstrap(
            [(one, place) for place in range(len(one.num_windows))],
            [(two, place) for place in range(len(two.num_windows))],
            lambda files: files[0][0]([place for _, place in files]),
            num_resamples=DISTANCE_RESAMPLES,
            confidence=confidence,
            centre=True,
            seed=seed,
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "schema": SCHEMA,
            "means": self.means(),
            "summary": self.summary(),
            "by_length": self.by_length(),
            "codec": self.codec,
            "frechet": self.frechet,
            "models": self.models,
            "absent_figures": self.absent_figures,
            "undefined": self.undefined,
            "silent": self.silent,
            "files": self.rows,
            "failures": self.failures,
        }

    def csv_text(self) -> str:
        """All rows, six significant digits; an empty field has no value."""
        return csv_text([*KEYS, *self.figures], self.rows)

    def _groups(self) -> list[tuple[str, list[Row]]]:
        return [(name, [row for row in self.rows if row["system"] == name]) for name in self.systems]


def check_edges(edges_s: Sequence[float]) -> None:
    """Raise ValueError unless the edges of bins of lengths rise from above 0."""
    if not edges_s or any(b <= a for a, b in pairwise(edges_s)) or edges_s[0] <= 0:
        raise ValueError(f"the edges of length bins must rise from above 0, got {tuple(edges_s)}")


def csv_text(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Rows as CSV: six significant digits, an empty field where there is no value."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in values])
    return buffer.getvalue()


def mean(rows: Sequence[Row], figure: str) -> float | None:
    """Mean of a figure over the rows that have it, weighted where it is a share; None where none has."""
    pairs = weighted_values(rows, figure)
    return _weighted_mean(pairs) if pairs else None


def weighted_values(rows: Sequence[Row], figure: str) -> list[tuple[float, float]]:
    """(value, weight) of a figure in the rows that have it."""
    weight = WEIGHTS.get(figure)
    present = [row for row in rows if row.get(figure) is not None]
    return [(row[figure], row[weight] if weight is not None else 1.0) for row in present]


def interval(rows: Sequence[Row], figure: str, confidence: float, seed: int) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval over files of what `mean` gives; (None, None) below two values."""
    pairs = weighted_values(rows, figure)
    if len(pairs) < 2:
        return None, None
    if figure in WEIGHTS:
        found = bootstrap_interval(pairs, _weighted_mean, confidence=confidence, seed=seed)
    else:
        found = bootstrap_interval([value for value, _ in pairs], confidence=confidence, seed=seed)
    return found.low, found.high


def _weighted_mean(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)


def _summarise(keys: Row, rows: Sequence[Row], figures: Sequence[str], confidence: float, seed: int) -> Row:
    found: Row = {**keys, "num_files": len(rows)}
    for figure in figures:
        low, high = interval(rows, figure, confidence, seed)
        count = len(weighted_values(rows, figure))
        found[figure] = {
            "mean": mean(rows, figure),
            "low": low,
            "high": high,
            "num_values": count,
            "num_missing": len(rows) - count,
        }
    return found
