"""The interface of an engine: tasks go in, their results come out, whichever worker computes them.

The results of a task depend only on the task, so that every engine gives the same results, and a task that was lost can
be repeated.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")


class Worker(ABC, Generic[Task, Result]):
    """Does the work. One worker lives in each process that takes part, with everything that is costly to load."""

    @abstractmethod
    def work(self, tasks: Iterator[Task]) -> Iterator[Result]:
        """Yields the results of each task, one or several, in the order of the tasks.

        Args:
            tasks: may be drawn ahead of the results, to read the next one while one is computed.
        """


MakeWorker = Callable[[str], Worker[Task, Result]]  # makes a worker on the device of this name


class Engine(ABC):
    """Runs tasks."""

    remote: bool  # whether workers live in other processes, so that they and the tasks are sent there

    @abstractmethod
    def run(
        self, make_worker: MakeWorker[Task, Result], tasks: Iterable[Task], *, ordered: bool = True
    ) -> Iterator[Result]:
        """Yields the results of the tasks; only a few are in memory at a time.

        Args:
            make_worker: makes a worker, in each process that takes part.
            tasks: drawn when a worker is free, so that what is not drawn is left to others.
            ordered: whether results come in the order of the tasks, rather than as soon as they are there.

        Raises:
            EngineError: a task whose worker died again and again.
            Exception: what a worker raises.
        """
