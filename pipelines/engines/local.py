"""The engine that needs no other processes: threads read ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from .base import Engine, Item, Prepared, Result, Worker, work_through


class LocalEngine(Engine):
    """One worker in this process.

    Args:
        num_threads: that prepare items while the worker is busy with others; with 0 each item is prepared in its turn.
    """

    def __init__(self, num_threads: int = 2):
        self.num_threads = num_threads

    def run(
        self, make_worker: Callable[[], Worker[Item, Prepared, Result]], items: Sequence[Item], task_size: int
    ) -> Iterator[Result]:
        return work_through(make_worker(), items, task_size, self.num_threads)
