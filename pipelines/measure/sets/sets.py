"""The embeddings of a set of audio, file by file, on disk: memory does not grow with the number of files.

Shape letters: n embeddings of all files, W of one, D their width.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ..metrics.frechet import GaussianStatistics
from ..metrics.spool import Spool
from .cache import Embedded

BLOCK_ROWS = 4096  # embeddings that statistics take in at a time, whatever the batches were


@dataclass(kw_only=True)
class SideSummary:
    """What one set came to."""

    source: str
    num_files: int = 0  # measured; 0 where statistics were loaded
    num_windows: int = 0  # embeddings
    num_repeated: int = 0  # files shorter than one window, which were repeated to fill it
    num_silent: int = 0  # files of digital silence; they are measured
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: left out


@dataclass(kw_only=True)
class EmbeddedSet:
    """A set of audio as embeddings, or as saved statistics of such."""

    statistics: GaussianStatistics
    names: list[str] = field(default_factory=list)  # of the measured files, sorted; empty where statistics were loaded
    indices: list[int] = field(default_factory=list)  # of each within its source: several rows may name one file
    offsets: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64))  # row at which each file begins, and n
    embeddings: np.ndarray | None = None  # [n, D] float32, mapped from disk; None where statistics were loaded

    def files(self) -> list[np.ndarray]:
        """Embeddings [W, D] of each file, as views."""
        if self.embeddings is None:
            return []
        spans = zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)
        return [self.embeddings[begin:end] for begin, end in spans]


NOTHING = EmbeddedSet(statistics=GaussianStatistics.empty(0))  # of a network that saved statistics know nothing of


class SetBuilder:
    """Gathers what the files of a set came to, in the order in which they come."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.indices: list[int] = []
        self._counts: list[int] = []
        self._embeddings = Spool()

    def add(self, name: str, index: int, found: Embedded) -> None:
        """Take in the file that has this name and index in its source."""
        self.names.append(name)
        self.indices.append(index)
        self._counts.append(len(found.embeddings))
        self._embeddings.add(found.embeddings)

    def close(self) -> None:
        """Let go of the files on disk; a set that was built stays."""
        self._embeddings.close()

    def build(self, statistics: GaussianStatistics) -> EmbeddedSet:
        """The set, with `statistics` of nothing yet brought up to it."""
        rows = self._embeddings.mapped()
        if rows is not None:
            for begin in range(0, len(rows), BLOCK_ROWS):
                statistics.update(rows[begin : begin + BLOCK_ROWS])
        return EmbeddedSet(
            statistics=statistics,
            names=self.names,
            indices=self.indices,
            offsets=np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)]),
            embeddings=rows,
        )


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Which names of two lists are of counterparts; tuples hold what is said of the first and of the second list."""

    pairs: list[tuple[int, int]]  # places in the first, rising, and in the second
    alone: tuple[list[str], list[str]]  # names that the other list has not
    unclear: tuple[list[str], list[str]]  # names that it has, but for suffixes, and several files go by


def pairs_by_name(first: list[str], second: list[str]) -> Pairing:
    """Pair files by their names.

    Suffixes do not count, `a/x.wav` pairs with `a/x.flac`, unless several files of a list differ in them alone: then
    equal names pair and no others. A name that comes again is the same file in another row, with another prompt, and
    has its counterpart as well: the row of the same number, or the first again where the other list has fewer.
    """
    left, right = _by_stem(first), _by_stem(second)
    pairs: list[tuple[int, int]] = []
    unclear: tuple[list[str], list[str]] = ([], [])
    for ours, theirs in ((left[key], right[key]) for key in left if key in right):
        matched = {name: name for name in ours if name in theirs}
        if not matched and len(ours) == len(theirs) == 1:
            matched = dict(zip(ours, theirs, strict=True))
        for one, other in matched.items():
            places = theirs[other]
            pairs += [(place, places[number % len(places)]) for number, place in enumerate(ours[one])]
        unclear[0].extend(name for name in ours if name not in matched)
        unclear[1].extend(name for name in theirs if name not in matched.values())
    return Pairing(pairs=sorted(pairs), alone=(_lacking(left, right), _lacking(right, left)), unclear=unclear)


def _by_stem(names: list[str]) -> dict[str, dict[str, list[int]]]:
    """The places of each name, by the stem that it shares with others."""
    found: dict[str, dict[str, list[int]]] = {}
    for place, name in enumerate(names):
        found.setdefault(stem(name), {}).setdefault(name, []).append(place)
    return found


def _lacking(here: Mapping[str, Iterable[str]], there: Container[str]) -> list[str]:
    """Names whose stem is not there."""
    return [name for key, names in here.items() if key not in there for name in names]


def stem(name: str) -> str:
    """The name that files pair by: without its suffix."""
    head, dot, _ = name.rpartition(".")
    return head if dot and "/" not in name[len(head) :] else name
