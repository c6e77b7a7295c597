"""Fréchet distances of what systems make of files to the files themselves, gathered while the files go by."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..audio.convert import resample
from .embedders.base import Embedder
from .frechet import GaussianStatistics, frechet_distance

BATCH_WINDOWS = 16


class ReconstructionSets:
    """Statistics of the embeddings of the originals and of each system's reconstructions."""

    def __init__(self, embedder: Embedder):
        self.embedder = embedder
        self._reference = self._empty()
        self._systems: dict[str, GaussianStatistics] = {}

    def add_reference(self, audio: Tensor, sample_rate: int) -> None:
        """Take in an original [C, N]."""
        self._update(self._reference, audio, sample_rate)

    def add(self, system: str, audio: Tensor, sample_rate: int) -> None:
        """Take in what `system` made [C, N]."""
        self._update(self._systems.setdefault(system, self._empty()), audio, sample_rate)

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

    def _empty(self) -> GaussianStatistics:
        return GaussianStatistics.empty(self.embedder.dim, self.embedder.identity())

    def _update(self, statistics: GaussianStatistics, audio: Tensor, sample_rate: int) -> None:
        mono = resample(audio.mean(0, keepdim=True), sample_rate, self.embedder.sample_rate)[0]
        statistics.update(self.embedder.embed(mono, BATCH_WINDOWS).numpy())
