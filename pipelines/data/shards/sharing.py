"""Several processes that encode into one folder: who makes the plan, who encodes which shard, who completes it all."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from ....core.errors import InUseError
from ....core.job_log import job_logger
from ....core.locks import LOCKS, Holder, Locks
from ....core.outputs import prepare_output
from ...engines import Engine, MakeWorker
from ..audio.concerns import Concerns
from .dataset_files import read_dataset_json
from .index import finalise, is_finalised
from .job import ShardJob
from .plan import Plan
from .progress import ProgressReport
from .shard import ShardFile
from .worker import ShardProgress, ShardTask

POLL_S = 0.5
PLAN, RUN, SHARD, FINALISE = "plan", "run", "shard", "finalise"  # the locks


class SharedRun:
    """This process among those that encode into a folder at the same time. Close it at the end of the run.

    Args:
        folder: of the dataset.
        settings: plain values; processes that encode at the same time must have the same ones.
    """

    def __init__(self, folder: Path, settings: Any):
        self.folder, self.locks = folder, Locks(folder / LOCKS)
        self._key = json.dumps(settings, sort_keys=True)
        self._existed = folder.exists()

    @contextmanager
    def planning(self) -> Iterator[bool]:
        """Lets one process at a time open or make the plan; yields whether others encode it already.

        Raises:
            InUseError: others encode with other settings.
            OSError: the folder cannot be written.
        """
        prepare_output(self.folder)
        waiting = False
        while (holder := self.locks.take(PLAN, self._key)) is not None:
            self._refuse_others(holder)
            if not waiting:
                job_logger.info("waiting for the plan of the dataset, which %s makes", holder)
            waiting = True
            time.sleep(POLL_S)
        try:
            others = self.locks.holders(RUN)
            for other in others:
                self._refuse_others(other)
            self.locks.take(f"{RUN}-{secrets.token_hex(8)}", self._key)
            yield bool(others)
        finally:
            self.locks.release(PLAN)

    def _refuse_others(self, holder: Holder) -> None:
        if holder.key != self._key:
            raise InUseError(
                f"{self.folder} is in use: {holder} encodes to it with other settings or from another source; wait "
                "until it has ended, stop it, or encode to another folder. With the same settings, this process would "
                "share its work"
            )

    def complete(self, plan: Plan, shards: Sequence[ShardFile]) -> tuple[dict[str, Any], Holder | None]:
        """Completes the dataset, unless another process has done so or is about to.

        Args:
            plan: of the dataset.
            shards: all of them.

        Returns:
            The contents of `dataset.json`, and the other process that completes the dataset, if there is one.
        """
        other = self.locks.take(FINALISE)
        info = read_dataset_json(self.folder)
        if other is not None:
            if not info["complete"]:
                job_logger.info("all shards are encoded; %s completes the dataset", other)
            return info, other
        if not info["complete"] or not is_finalised(self.folder):
            info = finalise(self.folder, info, plan, shards)
        return info, None

    def close(self) -> None:
        """Gives up everything, and removes a new folder in which nothing was made."""
        self.locks.close()
        if not self._existed:
            for folder in (self.folder / "shards", self.folder):
                with suppress(OSError):  # it is not there, or not empty
                    folder.rmdir()


class SharedShards:
    """The shards of a plan, of which each process takes the next one that nobody has.

    Args:
        job: of the run.
        plan: of the dataset.
        locks: of the folder.
        report: counts the items, also those of shards that are there or that other processes encode.
    """

    def __init__(self, job: ShardJob, plan: Plan, locks: Locks, report: ProgressReport):
        self._job, self._plan, self._locks, self._report = job, plan, locks, report
        self._open = dict.fromkeys(plan.shard_numbers)  # not known to be finished, in order
        self._mine: set[int] = set()
        self._others: dict[int, Holder] = {}  # who had a shard when it was last asked for
        self._concerns = Concerns()

    @property
    def num_open(self) -> int:
        """Number of shards that are not known to be finished."""
        return len(self._open)

    def settle(self) -> None:
        """Finds out which shards are there by now."""
        for number in [number for number in self._open if number not in self._mine]:
            self._is_finished(number)

    def encode(self, engine: Engine, make_worker: MakeWorker[ShardTask, ShardProgress]) -> int:
        """Encodes shards until all are there, and takes over those of processes that die.

        Args:
            engine: which does the work of this process.
            make_worker: makes a worker.

        Returns:
            Number of shards that this process encoded.
        """
        num_encoded, told = 0, ""
        while self._open:
            tasks = self._draw()
            first = next(tasks, None)
            if first is not None:
                for part in engine.run(make_worker, chain([first], tasks), ordered=False):
                    self._report.advance(part.num_items, part.audio_s, part.num_failed)
                    if part.concerns is not None:
                        self._done(part.number, part.concerns)
                        num_encoded += 1
            elif self._open:
                names = ", ".join(sorted({str(self._others[number]) for number in self._open}))
                if names != told:
                    job_logger.info("waiting for %d shards that others encode: %s", len(self._open), names)
                told = names
                time.sleep(POLL_S)
        self._concerns.log()
        return num_encoded

    def _draw(self) -> Iterator[ShardTask]:
        """Takes one shard after the other that is not there and that no living process encodes."""
        for number in [number for number in self._open if number not in self._mine]:
            if self._is_finished(number):
                continue
            holder = self._locks.take(f"{SHARD}-{number}")
            if holder is not None:
                self._others[number] = holder
            elif self._is_finished(number):  # by a process that has given it up since
                self._locks.release(f"{SHARD}-{number}")
            else:
                self._mine.add(number)
                yield ShardTask(number=number, items=self._plan.items_of(number), digest=self._plan.digest_of(number))

    def _done(self, number: int, concerns: Concerns) -> None:
        self._concerns.merge(concerns)
        self._mine.remove(number)
        del self._open[number]
        self._locks.release(f"{SHARD}-{number}")

    def _is_finished(self, number: int) -> bool:
        shard = self._job.find_finished(number, self._plan.digest_of(number))
        if shard is None:
            return False
        del self._open[number]
        self._report.advance(shard.num_items + len(shard.failures), failed=len(shard.failures))
        return True
