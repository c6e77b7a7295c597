"""Ctrl-C and SIGTERM: both end a command in order, with a line that says how to resume and a shell's exit code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ...core.errors import TrainingInterrupted


class Terminated(KeyboardInterrupt):
    """SIGTERM, as from `kill`, a job scheduler, or a machine that shuts down."""


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raises `Terminated` on SIGTERM within the context, so that locks are given up and processes end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python allows no handlers here
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def signal_of(error: BaseException) -> signal.Signals:
    """Returns the signal that led to an interruption."""
    terminated = isinstance(error, Terminated) or (isinstance(error, TrainingInterrupted) and error.by == "SIGTERM")
    return signal.SIGTERM if terminated else signal.SIGINT
