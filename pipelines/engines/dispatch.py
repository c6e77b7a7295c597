"""Gives tasks to the workers of a pool, each to the one that has the least to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

TASKS_AHEAD = 4  # per worker: how far ordered results may be ahead of the oldest missing one; this bounds the memory


class Pool(ABC):
    """Workers in other processes. A worker that dies is replaced, and its tasks are repeated."""

    num_workers: int

    @abstractmethod
    def submit(self, worker: int, task: Any) -> Any:
        """Gives a task to a worker, which does its tasks one after the other; returns a handle, which is hashable."""

    @abstractmethod
    def wait(self, handles: Collection[Any]) -> Any:
        """Waits until one of these is done, and returns it."""

    @abstractmethod
    def results(self, handle: Any) -> Sequence[Any]:
        """Returns the results of a task that is done, or raises what its worker raised."""


def dispatch(pool: Pool, tasks: Iterable[Any], ordered: bool) -> Iterator[Any]:
    """Yields the results of the tasks.

    Args:
        pool: of the workers.
        tasks: drawn when a worker is free; where results are ordered, one task per worker waits in addition.
        ordered: whether results come in the order of the tasks.
    """
    load = [0] * pool.num_workers
    most, ahead = (2, TASKS_AHEAD * pool.num_workers) if ordered else (1, None)
    running: dict[Any, tuple[int, int]] = {}  # handle -> (task, worker)
    done: dict[int, Any] = {}  # task -> handle of its results
    begun = wanted = 0
    upcoming = iter(tasks)
    while True:
        while min(load) < most and (ahead is None or begun < wanted + ahead):
            try:
                task = next(upcoming)
            except StopIteration:
                most = 0
                break
            worker = load.index(min(load))
            running[pool.submit(worker, task)] = (begun, worker)
            load[worker] += 1
            begun += 1
        if not running:
            return
        handle = pool.wait(running)
        number, worker = running.pop(handle)
        load[worker] -= 1
        done[number] = handle
        ready = _from(wanted, done) if ordered else [number]
        for number in ready:
            yield from pool.results(done.pop(number))
        wanted += len(ready)


def _from(wanted: int, done: dict[int, Any]) -> list[int]:
    """Returns the numbers from `wanted` on that are done without a gap."""
    ready = []
    while wanted in done:
        ready.append(wanted)
        wanted += 1
    return ready
