"""Files to listen to, kept while they go by.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ...data.audio.find import AudioItem

ORIGINAL = "original"


class Players:
    """Keeps the beginnings of some files and of what the systems made of them: a `FileMetric` that gives no figure."""

    models: Mapping[str, str] = {}

    def __init__(self, items: Sequence[AudioItem], seconds: float):
        self.seconds = seconds
        self._files: dict[str, list[Tensor]] = {item.name: [] for item in items}
        self._sample_rate = 0

    def measure(self, item: AudioItem, reference: Tensor, estimate: Tensor, sample_rate: int) -> dict[str, Any]:
        """Keep audio [C, N]; called once for each system, in their order."""
        if (kept := self._files.get(item.name)) is not None:
            end, self._sample_rate = max(1, round(self.seconds * sample_rate)), sample_rate
            kept += [x[:, :end].clone() for x in ((estimate,) if kept else (reference, estimate))]
        return {}

    def rows(self, systems: Sequence[str]) -> list[tuple[str, list[tuple[str, Tensor, int]]]]:
        """Each file that was measured with its original and what `systems`, in their order, made of it."""
        return [
            (name, [(label, audio, self._sample_rate) for label, audio in self._cells(systems, kept).items()])
            for name, kept in self._files.items()
            if kept
        ]

    @staticmethod
    def _cells(systems: Sequence[str], kept: Sequence[Tensor]) -> dict[str, Tensor]:
        """Audio by label; a system that is the original itself is not shown twice."""
        return dict(zip((ORIGINAL, *systems), kept, strict=True))
