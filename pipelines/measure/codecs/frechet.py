"""Fréchet distances of what systems make of files to the files themselves, gathered while the files go by."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from ...data.audio.convert import resample
from ..embedders.base import Embedder
from ..metrics.factored import FileFrechetDistance
from ..metrics.frechet import GaussianStatistics, frechet_distance
from ..metrics.spool import Spool

BATCH_WINDOWS = 16


class ReconstructionSets:
    """Statistics of the embeddings of the originals and of each system's reconstructions; these also file by file."""

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        self._reference = self._empty()
        self._systems: dict[str, GaussianStatistics] = {}
        self._spools: dict[str, Spool] = {}
        self._num_windows: dict[str, list[int]] = {}  # of each file that has any

    def add_reference(self, audio: Tensor, sample_rate: int) -> None:
        """Take in an original [C, N]."""
        self._reference.update(self._embed(audio, sample_rate))

    def add(self, system: str, audio: Tensor, sample_rate: int) -> None:
        """Take in what `system` made [C, N]."""
        if system not in self._systems:
            self._systems[system], self._spools[system], self._num_windows[system] = self._empty(), Spool(), []
        rows = self._embed(audio, sample_rate)
        self._systems[system].update(rows)
        if len(rows):
            self._spools[system].add(rows)
            self._num_windows[system].append(len(rows))

    def to_dict(self) -> dict[str, Any]:
        """The metric's name, its embedder, the windows a side, and the distance of each system.

        Distances are None below two windows. Few windows bias all distances upwards, so only those on as many compare.
        """
        enough = self._reference.num >= 2
        return {
            "metric": f"fad_{self.embedder.name}",
            "embedder": self.embedder.identity(),
            "num_windows": self._reference.num,
            "values": {
                name: frechet_distance(self._reference, found) if enough else None
                for name, found in self._systems.items()
            },
        }

    def of_files(self) -> dict[str, FileFrechetDistance]:
        """Each system's distance for any choice of files, empty below two windows; nothing can be added after it."""
        if self._reference.num < 2:
            return {}
        mapped = {name: spool.mapped() for name, spool in self._spools.items()}
        return {
            name: FileFrechetDistance(self._reference, rows, self._num_windows[name])
            for name, rows in mapped.items()
            if rows is not None
        }

    def close(self) -> None:
        """Let go of the files on disk; what `of_files` gave stays."""
        for spool in self._spools.values():
            spool.close()

    def _empty(self) -> GaussianStatistics:
        return GaussianStatistics.empty(self.embedder.dim, self.embedder.identity())

    def _embed(self, audio: Tensor, sample_rate: int) -> np.ndarray:
        mono = resample(audio.mean(0, keepdim=True), sample_rate, self.embedder.sample_rate)[0]
        return self.embedder.embed(mono, BATCH_WINDOWS).numpy()
