"""One recording of a source: a file, or a part of one, with its metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ....core.errors import AudioError
from .places import AudioPath
from .read import AudioFile, AudioInfo, probe
from .reader import TRUNCATED_S


@dataclass(frozen=True, kw_only=True)
class AudioItem:
    """An audio file, or a segment of one, and its metadata."""

    path: AudioPath  # absolute
    name: str  # relative to the source, so that it does not depend on the place of the source
    metadata: dict[str, Any] = field(default_factory=dict)  # plain JSON values: the other columns of the manifest
    start_s: float = 0.0  # of the segment in the file
    duration_s: float | None = None  # of the segment; None reaches to the end of the file
    problem: str = ""  # why the row of the manifest cannot be used

    def probe(self) -> AudioInfo:
        """Returns the facts about the file; see `read.probe`."""
        self._check()
        return probe(self.path)

    def read(self, *, max_duration_s: float | None = None) -> tuple[Tensor, int]:
        """Reads the file or the segment.

        Args:
            max_duration_s: at most this much from its start; None reads all of it.

        Returns:
            Audio [C, N] float32, and its sample rate in Hz.

        Raises:
            AudioError: it cannot be read, or the segment does not lie in the file.
        """
        self._check()
        lengths = [length for length in (self.duration_s, max_duration_s) if length is not None]
        with AudioFile(self.path) as file:
            audio, rate = file.read(start_s=self.start_s, duration_s=min(lengths, default=None))
        if self.duration_s is not None and audio.shape[-1] / rate < min(lengths) - TRUNCATED_S:
            raise AudioError(f"{self.path}: {beyond_the_end(self, self.start_s + audio.shape[-1] / rate)}")
        return audio, rate

    def part(self, total_s: float) -> tuple[float, float]:
        """Returns start and duration in seconds, both within a file of `total_s` seconds.

        Raises:
            AudioError: the segment does not lie in the file.
        """
        rest_s = total_s - self.start_s
        if rest_s <= 0 or (self.duration_s is not None and self.duration_s > rest_s + TRUNCATED_S):
            raise AudioError(f"{self.path}: {beyond_the_end(self, total_s)}")
        return self.start_s, rest_s if self.duration_s is None else min(self.duration_s, rest_s)

    def _check(self) -> None:
        if self.problem:
            raise AudioError(f"{self.path}: {self.problem}")


def beyond_the_end(item: AudioItem, total_s: float) -> str:
    """Returns the reason for a segment that ends after its file of `total_s` seconds."""
    end = "" if item.duration_s is None else f" to {item.start_s + item.duration_s:g} s"
    return f"the segment from {item.start_s:g} s{end} goes beyond the end of the file at {total_s:g} s"
