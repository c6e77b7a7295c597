"""The progress of an encoding run, for a callback and for the lines of the job's log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ....core.job_log import job_logger


@dataclass(kw_only=True)
class EncodeProgress:
    """The progress of a run."""

    phase: Literal["probe", "encode"]  # the files are probed first
    items_done: int
    items_total: int | None  # None while the source is gone through
    num_failed: int
    audio_s: float  # seconds of audio encoded by this run
    elapsed_s: float  # since this phase began

    @property
    def audio_hours_per_hour(self) -> float:
        return self.audio_s / self.elapsed_s if self.elapsed_s > 0 else 0.0


ProgressCallback = Callable[[EncodeProgress], None]


class ProgressReport:
    """Counts what one phase of a run has done.

    Args:
        phase: its name.
        items_total: items of the phase; None if that is not known before its end.
        num_failed: items that failed before.
        callback: called after each change.
        log_every_s: seconds between two lines of the job's log.
    """

    def __init__(
        self,
        phase: Literal["probe", "encode"],
        items_total: int | None,
        *,
        num_failed: int = 0,
        callback: ProgressCallback | None = None,
        log_every_s: float = 30.0,
    ):
        self.callback, self.log_every_s = callback, log_every_s
        self.begun_s = self.logged_s = time.monotonic()
        self.state = EncodeProgress(
            phase=phase, items_done=0, items_total=items_total, num_failed=num_failed, audio_s=0.0, elapsed_s=0.0
        )

    def advance(self, items: int, audio_s: float = 0.0, failed: int = 0) -> None:
        """Counts work that is done.

        Args:
            items: number of items.
            audio_s: seconds of audio that were encoded.
            failed: how many of the items failed.
        """
        state, now_s = self.state, time.monotonic()
        state.items_done += items
        state.audio_s += audio_s
        state.num_failed += failed
        state.elapsed_s = now_s - self.begun_s
        if self.callback is not None:
            self.callback(state)
        if now_s - self.logged_s >= self.log_every_s:
            self.logged_s = now_s
            speed = f", {state.audio_hours_per_hour:.1f} h of audio per hour" if state.audio_s else ""
            total = "" if state.items_total is None else f" of {state.items_total}"
            job_logger.info("%s: %d%s, %d left out%s", state.phase, state.items_done, total, state.num_failed, speed)
