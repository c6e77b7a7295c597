"""The interface of an engine: items go in, results come out in the order of the items, whichever worker computes them.

The unit of work is a task of `task_size` consecutive items. The results of a task depend only on its items, so that
every engine gives the same results, and a task that was lost can be repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Generic, TypeVar

from ...core.read_ahead import read_ahead

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")


class Worker(ABC, Generic[Item, Prepared, Result]):
    """Does the work. One worker lives in each process that takes part, with everything that is costly to load."""

    @abstractmethod
    def prepare(self, item: Item) -> Prepared:
        """Reads one item. Called from several threads at once."""

    @abstractmethod
    def finish(self, prepared: Iterator[Prepared]) -> Iterator[Result]:
        """Yields the results of the items of one task, in their order; `prepared` waits for items being read."""


class Engine(ABC):
    """Runs tasks."""

    @abstractmethod
    def run(
        self, make_worker: Callable[[], Worker[Item, Prepared, Result]], items: Sequence[Item], task_size: int
    ) -> Iterator[Result]:
        """Yields results in the order of `items`; only a few are in memory at a time.

        Args:
            make_worker: makes a worker, in each process that takes part.
            items: to work on.
            task_size: items per task.

        Raises:
            Exception: what a worker raises.
        """


def work_through(
    worker: Worker[Item, Prepared, Result], items: Sequence[Item], task_size: int, num_threads: int
) -> Iterator[Result]:
    """Does all tasks, one after the other.

    Args:
        worker: does the work.
        items: to work on.
        task_size: items per task.
        num_threads: prepare items ahead, also those of the next task; with 0 each item is prepared in its turn.

    Yields:
        The result of each task, in order.

    Raises:
        ValueError: a task size below 1 or a number of threads below 0.
    """
    if task_size < 1:
        raise ValueError(f"task_size must be at least 1, got {task_size}")
    with closing(read_ahead(worker.prepare, items, num_threads=num_threads, num_ahead=num_threads + 1)) as prepared:
        for begin in range(0, len(items), task_size):
            yield from worker.finish(islice(prepared, min(task_size, len(items) - begin)))
