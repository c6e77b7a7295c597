"""Audio for a page, in rows of players. Shape letters: C channels, N samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class AudioCell(NamedTuple):
    """One player with its spectrogram."""

    label: str
    audio: Tensor  # [C, N]
    sample_rate: int  # Hz
    marks: tuple[tuple[float, float], ...] = ()  # (start, end) in seconds of parts that are marked in the spectrogram


@dataclass(frozen=True, kw_only=True)
class AudioRow:
    """Players next to each other."""

    caption: str
    cells: list[AudioCell]
    note: str = ""
