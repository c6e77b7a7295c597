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
    """How much audio of one set was measured."""

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
    """Gathers the embeddings of the files of a set, in the order in which they are added."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.indices: list[int] = []
        self._counts: list[int] = []
        self._embeddings = Spool()

    def add(self, name: str, index: int, found: Embedded) -> None:
        """Adds a file.

        Args:
            name: name of the item in its source.
            index: index of the item in its source.
            found: its embeddings.
        """
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
