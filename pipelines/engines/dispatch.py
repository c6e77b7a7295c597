"""Gives tasks to the workers of a pool, each to the one that has the least to do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

TASKS_AHEAD = 4  # per worker: how far ordered results may be ahead of the oldest missing one; this bounds the memory
PATIENCE_S = 60.0  # shortest time without a result after which an idle worker repeats a task
PATIENCE = 3.0  # the same as a multiple of the longest task so far


class Pool(ABC):
    """Workers in other processes. A worker that dies is replaced, and its tasks are repeated."""

    num_workers: int

    @abstractmethod
    def submit(self, worker: int, task: Any) -> Any:
        """Gives a task to a worker, which does its tasks one after the other; returns a handle, which is hashable."""

    @abstractmethod
    def wait(self, handles: Collection[Any], timeout_s: float) -> Any:
        """Waits until one of these is done, and returns it; None if the time is over."""

    @abstractmethod
    def results(self, handle: Any) -> Sequence[Any]:
        """Returns the results of a task that is done, or raises what its worker raised."""


class Dispatcher:
    """One run of tasks.

    A worker that cannot be replaced, since its machine is gone and no other has joined, holds up nothing: when nothing
    is done for long, an idle worker repeats the oldest task, and the first result counts.

    Args:
        pool: of the workers.
        tasks: drawn when a worker is free; where results are ordered, one task per worker waits in addition.
        ordered: whether results come in the order of the tasks.
    """

    def __init__(self, pool: Pool, tasks: Iterable[Any], ordered: bool):
        self._pool, self._upcoming, self._ordered = pool, iter(tasks), ordered
        self._load = [0] * pool.num_workers
        self._queue = 2 if ordered else 1  # tasks per worker; 0 when all are drawn
        self._open: dict[int, Any] = {}  # tasks that are begun and not done
        self._running: dict[Any, tuple[int, int, float]] = {}  # handle -> number of the task, worker, begin
        self._repeated: set[int] = set()
        self._num_drawn = self._wanted = 0
        self._longest_s = 0.0

    def results(self) -> Iterator[Any]:
        """Yields the results of the tasks."""
        done: dict[int, Any] = {}  # task -> handle of its results
        while self._draw():
            patience_s = max(PATIENCE_S, PATIENCE * self._longest_s)
            handle = self._pool.wait(list(self._running), patience_s)
            if handle is None:
                self._repeat_oldest()
                continue
            number, worker, begun_s = self._running.pop(handle)
            self._load[worker] -= 1
            if number not in self._open:  # it was repeated, and the other one was faster
                continue
            self._longest_s = max(self._longest_s, time.monotonic() - begun_s)
            del self._open[number]
            done[number] = handle
            ready = self._from_wanted(done) if self._ordered else [number]
            for number in ready:
                yield from self._pool.results(done.pop(number))
            self._wanted += len(ready)

    def _draw(self) -> bool:
        """Begins tasks while workers are free; returns whether something is left to wait for."""
        ahead = self._wanted + TASKS_AHEAD * self._pool.num_workers
        while min(self._load) < self._queue and (not self._ordered or self._num_drawn < ahead):
            try:
                task = next(self._upcoming)
            except StopIteration:
                self._queue = 0
                break
            self._open[self._num_drawn] = task
            self._submit(self._num_drawn, task)
            self._num_drawn += 1
        return bool(self._open)

    def _submit(self, number: int, task: Any) -> None:
        worker = self._load.index(min(self._load))
        self._running[self._pool.submit(worker, task)] = (number, worker, time.monotonic())
        self._load[worker] += 1

    def _repeat_oldest(self) -> None:
        left = [number for number in self._open if number not in self._repeated]
        if left and min(self._load) == 0:
            self._repeated.add(left[0])
            self._submit(left[0], self._open[left[0]])

    def _from_wanted(self, done: dict[int, Any]) -> list[int]:
        """Returns the numbers from the oldest missing one on that are done without a gap."""
        ready: list[int] = []
        while self._wanted + len(ready) in done:
            ready.append(self._wanted + len(ready))
        return ready
