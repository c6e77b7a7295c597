"""Ranks of torchrun or srun that embed a set together, through the cache: each takes the next task that nobody has."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ....core.errors import ConfigError
from ....core.job_log import job_logger
from ....core.locks import LOCKS, Locks
from ....core.processes import Place
from ...engines import Engine, MakeWorker
from .config import EvaluateConfig
from .embed import FileEmbedding
from .sources import SourceItem

POLL_S = 0.5
TASKS = "tasks"  # folder in the cache with an empty file for each task that is done


def check_shareable(config: EvaluateConfig) -> None:
    """Raises ConfigError where this process is one of several, but they have no cache to share."""
    place = Place.now()
    if place.count > 1 and config.cache_dir is None:
        raise ConfigError(
            f"this is process {place.rank} of {place.count} of {place.launcher}, which share embeddings through a "
            "cache: give cache_dir (--cache), a folder that all of them can read and write"
        )


class SharedTasks:
    """The tasks of one set, of which each process does the next one that nobody has.

    Args:
        cache: folder of the embeddings.
        facts: plain values that tell this set and its embedder from others.
        tasks: items that share batches.
    """

    def __init__(self, cache: Path, facts: object, tasks: Sequence[list[SourceItem]]):
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
        self.folder = cache / TASKS / digest
        self._locks_folder = cache / LOCKS
        self._prefix, self._tasks = digest[:16], tasks
        self._open = set(range(len(tasks)))

    def work(self, engine: Engine, make_worker: MakeWorker[list[SourceItem], FileEmbedding], *, wait: bool) -> None:
        """Embeds what nobody embeds.

        Args:
            engine: which does the work of this process.
            make_worker: makes a worker that keeps embeddings in the cache.
            wait: until those of all other processes are there; tasks of processes that die are taken over.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        num_done = 0
        with Locks(self._locks_folder) as locks:
            while self._open:
                for number in self._embed(engine, make_worker, locks):
                    self._mark(number, locks)
                    num_done += 1
                if self._open and not wait:
                    break
                if self._open:
                    time.sleep(POLL_S)
        place = Place.now()
        job_logger.info(
            "process %d of %d embedded %d of %d tasks", place.rank + 1, place.count, num_done, len(self._tasks)
        )

    def forget(self) -> None:
        """Removes the notes about tasks that are done; their embeddings stay."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with suppress(OSError):  # other sets have tasks there
            self.folder.parent.rmdir()

    def _embed(
        self, engine: Engine, make_worker: MakeWorker[list[SourceItem], FileEmbedding], locks: Locks
    ) -> Iterator[int]:
        """Yields the number of each task that this process has done."""
        left: dict[int, int] = {}  # task -> items without a result

        def draw() -> Iterator[list[SourceItem]]:
            for number in sorted(self._open):
                if self._is_done(number) or locks.take(self._lock(number)) is not None:
                    continue
                if self._is_done(number):
                    locks.release(self._lock(number))
                    continue
                left[number] = len(self._tasks[number])
                yield self._tasks[number]

        task_of = {item.index: number for number in self._open for item in self._tasks[number]}
        for result in engine.run(make_worker, draw(), ordered=False):
            number = task_of[result.item.index]
            left[number] -= 1
            if not left[number]:
                yield number

    def _is_done(self, number: int) -> bool:
        if not (self.folder / str(number)).exists():
            return False
        self._open.discard(number)
        return True

    def _mark(self, number: int, locks: Locks) -> None:
        with suppress(FileNotFoundError):  # the first process has all results by now
            (self.folder / str(number)).touch()
        self._open.discard(number)
        locks.release(self._lock(number))

    def _lock(self, number: int) -> str:
        return f"embed-{self._prefix}-{number}"
