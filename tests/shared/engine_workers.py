"""A worker of no use, which other processes can import."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from latentune.pipelines.engines import Worker


class Doubler(Worker[int, int]):
    """Gives twice each task.

    Args:
        device: that the engine named.
        fail_at: task that raises.
        die_at: task that kills the process, each time.
        die_once: folder; each task kills the process of the first worker that does it.
    """

    def __init__(
        self, device: str, *, fail_at: int | None = None, die_at: int | None = None, die_once: Path | None = None
    ) -> None:
        self.device, self.fail_at, self.die_at, self.die_once = device, fail_at, die_at, die_once
        self.num_drawn = self.num_done = self.most_ahead = 0

    def work(self, tasks: Iterator[int]) -> Iterator[int]:
        for task in tasks:
            if task == self.fail_at:
                raise ValueError(f"task {task} is bad")
            if task == self.die_at or (self.die_once is not None and self._is_first(self.die_once / str(task))):
                os.kill(os.getpid(), signal.SIGKILL)
            yield 2 * task

    def _is_first(self, path: Path) -> bool:
        try:
            path.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


class Reporter(Worker[int, tuple[str, int]]):
    """Gives the device and the number of its process."""

    def __init__(self, device: str) -> None:
        self.device = device

    def work(self, tasks: Iterator[int]) -> Iterator[tuple[str, int]]:
        for _ in tasks:
            yield self.device, os.getpid()


def make_doubler(device: str, **settings: object) -> Doubler:
    return Doubler(device, **settings)  # type: ignore[arg-type]
