"""The engine that spreads tasks over a Ray cluster: an actor is a worker with all that it loaded.

A worker that dies, with its machine or alone, is restarted and its tasks are repeated; since a task's results
depend on its items alone, the result is the same. The items must be readable by the same paths on every machine.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...core.errors import ConfigError
from .base import Engine, Item, Prepared, Result, Worker, work_through

logger = logging.getLogger(__name__)

TASKS_IN_FLIGHT = 2  # per worker: one that is worked on, one that waits
TASKS_AHEAD = 4  # per worker: how far results may be ahead of the oldest missing one; this bounds the memory


class RayEngine(Engine):
    """Actors on the cluster that Ray is connected to, on the cluster at `address`, or on this machine.

    Args:
        num_workers: actors; by default as many as fit on the cluster.
        num_threads: of each actor, as in `LocalEngine`.
        cpus_per_worker: CPUs that Ray reserves for each actor.
        gpus_per_worker: GPUs that Ray reserves for each actor; with fractions actors share a GPU.
        address: of a running cluster, or `auto`; None starts Ray on this machine until the run ends.
    """

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        num_threads: int = 2,
        cpus_per_worker: float = 1.0,
        gpus_per_worker: float = 0.0,
        address: str | None = None,
    ):
        if num_workers is not None and num_workers < 1:
            raise ConfigError(f"num_workers must be at least 1, got {num_workers}")
        if not cpus_per_worker > 0 or gpus_per_worker < 0:
            raise ConfigError(
                f"a worker needs cpus above 0 and gpus of at least 0, got {cpus_per_worker} and {gpus_per_worker}"
            )
        self.num_workers, self.num_threads = num_workers, num_threads
        self.cpus_per_worker, self.gpus_per_worker = cpus_per_worker, gpus_per_worker
        self.address = address
        self.pids: set[int] = set()  # processes that have given results

    def run(
        self, make_worker: Callable[[], Worker[Item, Prepared, Result]], items: Sequence[Item], task_size: int
    ) -> Iterator[Result]:
        ray = import_ray()
        tasks = [items[begin : begin + task_size] for begin in range(0, len(items), task_size)]
        started = not ray.is_initialized()
        if started:
            if self.address is None:
                os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(
                address=self.address, include_dashboard=False if self.address is None else None, log_to_driver=False
            )
        actors: list[Any] = []
        try:
            actor = ray.remote(max_restarts=-1, max_task_retries=-1)(_Actor).options(
                num_cpus=self.cpus_per_worker, num_gpus=self.gpus_per_worker
            )
            worker = ray.put(make_worker)
            actors += [actor.remote(worker, self.num_threads) for _ in range(min(self._room(ray), len(tasks)))]
            for pid, results in self._in_order(ray, actors, tasks):
                self.pids.add(pid)
                yield from results
        finally:
            for one in actors:
                ray.kill(one)
            if started:
                ray.shutdown()

    def _room(self, ray: Any) -> int:
        """Returns the number of workers to start."""
        if self.num_workers is not None:
            return self.num_workers
        have = ray.cluster_resources()
        room = int(have.get("CPU", 0) / self.cpus_per_worker)
        if self.gpus_per_worker:
            room = min(room, int(have.get("GPU", 0) / self.gpus_per_worker))
        if room < 1:
            raise ConfigError(
                f"the Ray cluster has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs, too little for one "
                f"worker of {self.cpus_per_worker:g} and {self.gpus_per_worker:g}"
            )
        return room

    @staticmethod
    def _in_order(ray: Any, actors: list[Any], tasks: list[Any]) -> Iterator[tuple[int, list[Any]]]:
        """Yields the result of each task in the tasks' order; a free worker takes the next task."""
        load = dict.fromkeys(range(len(actors)), 0)
        running: dict[Any, tuple[int, int]] = {}  # reference -> (task, worker)
        done: dict[int, Any] = {}  # task -> reference of its results, which stay in the object store
        begun = 0
        for wanted in range(len(tasks)):
            while wanted not in done:
                least = min(load, key=lambda number: load[number])
                while begun < min(len(tasks), wanted + TASKS_AHEAD * len(actors)) and load[least] < TASKS_IN_FLIGHT:
                    running[actors[least].do.remote(tasks[begun])] = (begun, least)
                    load[least] += 1
                    begun += 1
                    least = min(load, key=lambda number: load[number])
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    task, number = running.pop(reference)
                    load[number] -= 1
                    done[task] = reference
            yield _get(ray, done.pop(wanted))


class _Actor:
    """A worker in its own process. It is made with the first task, so that its exceptions reach the caller."""

    def __init__(self, make_worker: Callable[[], Worker[Any, Any, Any]], num_threads: int):
        self.make_worker, self.num_threads = make_worker, num_threads
        self.worker: Worker[Any, Any, Any] | None = None

    def do(self, items: Sequence[Any]) -> tuple[int, list[Any]]:
        if self.worker is None:
            self.worker = self.make_worker()
        return os.getpid(), list(work_through(self.worker, items, max(1, len(items)), self.num_threads))


def import_ray() -> Any:
    """Returns the ray module; raises ConfigError if it is not installed."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("the ray engine needs ray: pip install 'latentune[ray]', or use --engine local") from error
    return ray


def _get(ray: Any, reference: Any) -> Any:
    """Returns the value of a reference, or raises what the worker raised."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
