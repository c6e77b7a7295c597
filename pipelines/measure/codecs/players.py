"""Files to listen to, kept while they go by.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...data.audio.item import AudioItem
from ..results import FigureFacts
from ..results.audio import AudioCell, AudioRow
from .metrics import Case
from .systems import ORIGINAL


class Players:
    """Keeps the beginnings of some files and of their reconstructions: a `Metric` without figures."""

    def __init__(self, items: Sequence[AudioItem], seconds: float):
        self.seconds = seconds
        self.facts: Mapping[str, FigureFacts] = {}
        self._files: dict[str, list[AudioCell]] = {item.name: [] for item in items}

    def measure(self, case: Case) -> dict[str, Any]:
        """Keeps one reconstruction, and with the first one of a file its original."""
        if (kept := self._files.get(case.item.name)) is not None:
            end = max(1, round(self.seconds * case.sample_rate))
            if not kept:
                kept.append(AudioCell(ORIGINAL, case.reference[:, :end].clone(), case.sample_rate))
            if case.system != ORIGINAL:  # which is not shown twice
                kept.append(AudioCell(case.system, case.estimate[:, :end].clone(), case.sample_rate))
        return {}

    def rows(self) -> list[AudioRow]:
        """Returns each file that was measured: its original and what each system made of it."""
        return [AudioRow(caption=name, cells=cells) for name, cells in self._files.items() if cells]
