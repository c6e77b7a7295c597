"""Fréchet distances of reconstructions to the originals, gathered while the files go by.

Shape letters: C channels, N samples, n windows of all files, D width of an embedding.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...data.audio.convert import resample
from ..embedders.base import Embedder
from ..metrics.factored import FileFrechetDistance
from ..metrics.frechet import GaussianStatistics, frechet_distance
from ..metrics.spool import Spool
from ..results import FigureFacts, ResultsTable, SetFigure


class ReconstructionSets:
    """Statistics of the embeddings of the originals and of each system's reconstructions; the latter also per file."""

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        self.figure = f"fad_{embedder.name}"
        self._reference = self._empty()
        self._systems: dict[str, GaussianStatistics] = {}
        self._spools: dict[str, Spool] = {}
        self._num_windows: dict[str, dict[str, int]] = {}  # by system, of each file

    def add_reference(self, audio: Tensor, sample_rate: int) -> None:
        """Adds an original [C, N]."""
        self._reference.update(self._embed(audio, sample_rate))

    def add(self, system: str, file: str, audio: Tensor, sample_rate: int) -> None:
        """Adds a reconstruction.

        Args:
            system: its name.
            file: its name.
            audio: [C, N].
            sample_rate: in Hz.
        """
        if system not in self._systems:
            self._systems[system], self._spools[system], self._num_windows[system] = self._empty(), Spool(), {}
        rows = self._embed(audio, sample_rate)
        self._systems[system].update(rows)
        self._spools[system].add(rows)
        self._num_windows[system][file] = len(rows)

    def add_to(self, table: ResultsTable) -> None:
        """Adds the distance of each system to a table, as a figure of the set; no file can be added after it.

        There is no value below two windows. Few windows bias all distances upwards, so that only distances on equally
        many windows can be compared.
        """
        num_windows = self._reference.num
        table.figures[self.figure] = FigureFacts(better="lower", title=self.figure, bounds=(0.0, math.inf))
        table.facts["frechet"] = self._facts()
        for name, found in self._systems.items():
            if num_windows < 2:
                note = f"the files give {num_windows} windows and a distance needs at least 2"
                table.add_set(name, self.figure, SetFigure(value=None, note=note))
                continue
            rows = self._spools[name].mapped()
            assert rows is not None
            counts = self._num_windows[name]
            value = frechet_distance(self._reference, found)
            of_files = FileFrechetDistance(self._reference, rows, list(counts.values()))
            table.add_set(name, self.figure, SetFigure(value=value, of_files=of_files, names=list(counts)))

    def close(self) -> None:
        """Releases the files on disk; distances that were added stay."""
        for spool in self._spools.values():
            spool.close()

    def _facts(self) -> dict[str, Any]:
        identity = self.embedder.identity()
        return {
            "metric": self.figure,
            "embedder": identity,
            "num_windows": self._reference.num,
            "enough_windows": self.embedder.enough_windows,
            "dim": self.embedder.dim,
        }

    def _empty(self) -> GaussianStatistics:
        return GaussianStatistics.empty(self.embedder.dim, self.embedder.identity())

    def _embed(self, audio: Tensor, sample_rate: int) -> NDArray[Any]:
        mono = resample(audio.mean(0, keepdim=True), sample_rate, self.embedder.sample_rate)[0]
        return np.asarray(self.embedder.embed(mono).numpy())
