"""A queue with a limit: jobs take turns on the device, in the order in which they ask for them."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from ...core.errors import LatentuneError

FIRST_GUESS_S = 2.0  # of a job, before the first one has ended
FORGET = 0.3  # weight of the last job in the running mean of their seconds


class QueueFullError(LatentuneError):
    """A job that is refused, because as many as the queue allows run or wait.

    Args:
        limit: of the queue.
        retry_after_s: seconds after which a place is likely to be free.
    """

    def __init__(self, limit: int, retry_after_s: int):
        super().__init__(f"the queue of {limit} requests is full: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class JobTimeoutError(LatentuneError):
    """A job that took longer than is allowed."""


class JobCancelledError(LatentuneError):
    """A job that nobody waits for any more."""


class Jobs:
    """Places for jobs, of which one at a time has its turn on the device. All methods may be called by any thread.

    Args:
        limit: largest number of jobs that run or wait.
        timeout_s: seconds that a job has from its admission, or from `Job.extend`.

    Raises:
        ValueError: a limit below 1.
    """

    def __init__(self, limit: int, timeout_s: float):
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self.limit, self.timeout_s = limit, timeout_s
        self._changed = threading.Condition()
        self._waiting: deque[Job] = deque()  # for a turn
        self._admitted: set[Job] = set()
        self._running: Job | None = None
        self._mean_s = FIRST_GUESS_S

    def __len__(self) -> int:
        """The number of jobs that have a place."""
        return len(self._admitted)

    def admit(self, watch: Callable[[int, int], None] | None = None) -> Job:
        """Returns a job with a place in the queue, which it has until it is closed.

        Args:
            watch: called with (steps done, steps in all) while it runs.

        Raises:
            QueueFullError: all places are taken.
        """
        with self._changed:
            if len(self._admitted) >= self.limit:
                raise QueueFullError(self.limit, math.ceil(self._mean_s * max(1, len(self._waiting))))
            job = Job(self, watch)
            self._admitted.add(job)
            return job


class Job:
    """A place in the queue; use it as a context manager, so that the place is freed. Made by `Jobs.admit`."""

    def __init__(self, jobs: Jobs, watch: Callable[[int, int], None] | None = None):
        self._jobs, self._watch = jobs, watch
        self._cancelled = False
        self._began_s = time.monotonic()
        self._deadline_s = self._began_s + jobs.timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gives up the place."""
        jobs = self._jobs
        with jobs._changed:
            if self in jobs._admitted:
                jobs._admitted.remove(self)
                jobs._mean_s += FORGET * (time.monotonic() - self._began_s - jobs._mean_s)

    def cancel(self) -> None:
        """Ends the job at its next `check`, or while it waits."""
        with self._jobs._changed:
            self._cancelled = True
            self._jobs._changed.notify_all()

    def extend(self) -> None:
        """Starts the time of the job again, as after each piece of a stream."""
        self._deadline_s = time.monotonic() + self._jobs.timeout_s

    def check(self) -> None:
        """Returns if the job may continue.

        Raises:
            JobCancelledError: it was cancelled.
            JobTimeoutError: its time is over.
        """
        if self._cancelled:
            raise JobCancelledError("the request was cancelled")
        if time.monotonic() > self._deadline_s:
            raise JobTimeoutError(
                f"the request took longer than {self._jobs.timeout_s:g} s: ask for less audio or fewer steps, or try "
                "again later"
            )

    def progress(self, done: int, total: int) -> None:
        """Checks the job: a callback for a pipeline, which ends the sampling between two steps."""
        self.check()
        if self._watch is not None:
            self._watch(done, total)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Waits until the device is free, and has it within the context.

        Raises:
            JobCancelledError: it was cancelled while it waited.
            JobTimeoutError: its time was over before its turn.
        """
        jobs = self._jobs
        with jobs._changed:
            jobs._waiting.append(self)
            try:
                while jobs._running is not None or jobs._waiting[0] is not self:
                    self.check()
                    jobs._changed.wait(max(0.0, self._deadline_s - time.monotonic()) + 0.01)
                self.check()
                jobs._running = self
            finally:
                jobs._waiting.remove(self)
                jobs._changed.notify_all()
        try:
            yield
        finally:
            with jobs._changed:
                jobs._running = None
                jobs._changed.notify_all()
