"""Recordings that can be read, but whose header or samples are probably not what they seem to be."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Any

from torch import Tensor

logger = logging.getLogger(__name__)

PEAK_LIMIT = 10.0  # 20 dB above full scale: samples are probably scaled as integers
RATE_LIMITS = (1_000, 1_000_000)  # Hz
USUAL_CHANNELS = 2

PEAK = f"have a peak above {PEAK_LIMIT:g} (full scale is 1)"
RATE = f"have a sample rate outside of {RATE_LIMITS[0]} to {RATE_LIMITS[1]} Hz"
CHANNELS = f"have more than {USUAL_CHANNELS} channels"


def concerns_of(audio: Tensor, sample_rate: int) -> Iterator[str]:
    """Yields what is odd about audio [C, N] as it was read, each as a phrase for several recordings.

    Args:
        audio: before its channels or its rate are converted.
        sample_rate: in Hz.
    """
    if audio.numel() and float(audio.abs().max()) > PEAK_LIMIT:
        yield PEAK
    if not RATE_LIMITS[0] <= sample_rate <= RATE_LIMITS[1]:
        yield RATE
    if len(audio) > USUAL_CHANNELS:
        yield CHANNELS


class Concerns:
    """Counts what is odd about the recordings of a run. Threads may call it at once."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, str] = {}
        self._lock = threading.Lock()

    def add(self, name: str, concerns: Iterator[str] | tuple[str, ...]) -> None:
        """Counts the concerns about a recording."""
        for concern in concerns:
            with self._lock:
                self._first.setdefault(concern, name)
                self._counts[concern] = self._counts.get(concern, 0) + 1

    def merge(self, other: Concerns) -> None:
        """Counts what another object counted."""
        with self._lock:
            for concern, count in other._counts.items():
                self._first.setdefault(concern, other._first[concern])
                self._counts[concern] = self._counts.get(concern, 0) + count

    def __getstate__(self) -> dict[str, Any]:
        """Locks do not travel to other processes."""
        return {"_counts": self._counts, "_first": self._first}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self.__dict__.update(state)

    def log(self) -> None:
        """Logs a warning for each kind, with the number of recordings and one of them."""
        for concern, count in self._counts.items():
            logger.warning("%d recordings %s, such as %s", count, concern, self._first[concern])
