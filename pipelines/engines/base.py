"""The face of an engine: items go in, results come out in the items' order, whoever did the work and however often.

The unit of work is a task, `task_size` items that lie side by side. What a task gives depends on its items alone, so
that every engine gives the same, and a task that was lost can be done again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


class Worker(ABC, Generic[Item, Prepared, Result]):
    """What does the work; one lives in each process that takes part, with whatever is costly to load."""

    @abstractmethod
    def prepare(self, item: Item) -> Prepared:
        """Read one item. Called from several threads at once."""

    @abstractmethod
    def finish(self, prepared: Iterator[Prepared]) -> Iterator[Result]:
        """The results of one task's items, in their order; the items are prepared while they are waited for."""


class Engine(ABC):
    """Runs tasks."""

    @abstractmethod
    def run(
        self, make_worker: Callable[[], Worker[Item, Prepared, Result]], items: Sequence[Item], task_size: int
    ) -> Iterator[Result]:
        """Results in the order of `items`; few are in memory at a time. What a worker raises is raised here."""


def work_through(
    worker: Worker[Item, Prepared, Result], items: Sequence[Item], task_size: int, num_threads: int
) -> Iterator[Result]:
    """All tasks, one after the other; `num_threads` threads read ahead, also into the next task. 0: none."""
    if task_size < 1 or num_threads < 0:
        raise ValueError(f"task_size must be at least 1 and num_threads at least 0, got {task_size} and {num_threads}")
    stream = _prepared(worker, items, num_threads)
    try:
        for begin in range(0, len(items), task_size):
            task = islice(stream, min(task_size, len(items) - begin))
            yield from worker.finish(task)
    finally:
        stream.close()  # type: ignore[attr-defined]


def _prepared(worker: Worker[Item, Prepared, Result], items: Sequence[Item], num_threads: int) -> Iterator[Prepared]:
    """What `prepare` gives for each item, in order; at most `num_threads` + 1 are ready or in work."""
    if not num_threads:
        yield from map(worker.prepare, items)
        return
    pool, ahead = ThreadPoolExecutor(num_threads, thread_name_prefix="prepare"), iter(items)
    waiting: deque[Future[Prepared]] = deque()
    try:
        waiting.extend(pool.submit(worker.prepare, item) for item in islice(ahead, num_threads + 1))
        while waiting:
            done = waiting.popleft().result()
            waiting.extend(pool.submit(worker.prepare, item) for item in islice(ahead, 1))
            yield done
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
