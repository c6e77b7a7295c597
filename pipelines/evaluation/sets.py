"""The embeddings of a set of audio, file by file, on disk: memory does not grow with the number of files.

Shape letters: n embeddings of all files, W of one, D their width.
"""

from __future__ import annotations

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
        self._counts: list[int] = []
        self._embeddings = Spool()

    def add(self, name: str, found: Embedded) -> None:
        """Take in a file."""
        self.names.append(name)
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
            offsets=np.concatenate([[0], np.cumsum(self._counts, dtype=np.int64)]),
            embeddings=rows,
        )


def pairs_by_name(first: list[str], second: list[str]) -> tuple[list[tuple[int, int]], list[str], list[str]]:
    """Places of files of one name in both lists, and the names that only the first and only the second has.

    Suffixes do not count: `a/x.wav` pairs with `a/x.flac`. Of a name that occurs twice, the first is taken.
    """
    left, right = _stems(first), _stems(second)
    pairs = [(left[stem], right[stem]) for stem in left if stem in right]
    return (
        pairs,
        [first[place] for stem, place in left.items() if stem not in right],
        [second[place] for stem, place in right.items() if stem not in left],
    )


def _stems(names: list[str]) -> dict[str, int]:
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(stem(name), place)
    return places


def stem(name: str) -> str:
    """The name that files pair by: without its suffix."""
    head, dot, _ = name.rpartition(".")
    return head if dot and "/" not in name[len(head) :] else name
