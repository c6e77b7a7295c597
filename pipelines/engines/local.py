"""The engine of one machine: this process, or a process for each of several devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from .base import Engine, MakeWorker, Result, Task
from .dispatch import Dispatcher
from .processes import ProcessPool


class LocalEngine(Engine):
    """One worker in this process, or one in a process of its own for each of several devices.

    Args:
        devices: names of the devices; a device that is named several times has several workers.
    """

    def __init__(self, devices: Sequence[str] = ("auto",)):
        self.devices = tuple(devices)
        self.remote = len(self.devices) > 1

    def run(
        self, make_worker: MakeWorker[Task, Result], tasks: Iterable[Task], *, ordered: bool = True
    ) -> Iterator[Result]:
        if not self.remote:
            yield from make_worker(self.devices[0]).work(iter(tasks))
            return
        with closing(ProcessPool(make_worker, self.devices)) as pool:
            yield from Dispatcher(pool, tasks, ordered).results()
