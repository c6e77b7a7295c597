"""The engine that spreads tasks over a Ray cluster: an actor is a worker with all that it loaded.

A worker that dies, with its machine or alone, is restarted and its tasks are repeated. The items must be readable, and
outputs writable, by the same paths on every machine.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...core.errors import ConfigError, EngineError
from ...core.extras import install_command
from .base import Engine, MakeWorker, Result, Task, Worker
from .dispatch import Dispatcher, Pool

MOST_DEATHS = 20  # of workers by one task; machines that a cluster takes away count as well


class RayEngine(Engine):
    """Actors on the cluster that Ray is connected to, on the cluster at `address`, or on this machine.

    Args:
        num_workers: actors; by default as many as fit on the cluster.
        cpus_per_worker: CPUs that Ray reserves for each actor.
        gpus_per_worker: GPUs that Ray reserves for each actor; with fractions actors share a GPU. By default one if
            the cluster has GPUs and the device may be one.
        address: of a running cluster, or `auto`; None starts Ray on this machine until the run ends.
        device: of the actors: auto, cpu or cuda, since Ray chooses which GPU.
    """

    remote = True

    def __init__(
        self,
        *,
        num_workers: int | None = None,
        cpus_per_worker: float = 1.0,
        gpus_per_worker: float | None = None,
        address: str | None = None,
        device: str = "auto",
    ):
        if num_workers is not None and num_workers < 1:
            raise ConfigError(f"num_workers must be at least 1, got {num_workers}")
        if not cpus_per_worker > 0 or (gpus_per_worker is not None and gpus_per_worker < 0):
            raise ConfigError(
                f"a worker needs cpus above 0 and gpus of at least 0, got {cpus_per_worker} and {gpus_per_worker}"
            )
        if device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device {device!r}: Ray gives each worker its GPU; use auto, cpu or cuda")
        if device == "cuda" and gpus_per_worker == 0:
            raise ConfigError("device cuda needs gpus_per_worker above 0, got 0")
        self.num_workers, self.cpus_per_worker, self.gpus_per_worker = num_workers, cpus_per_worker, gpus_per_worker
        self.address, self.device = address, device
        self.pids: set[int] = set()  # processes that have given results

    def run(
        self, make_worker: MakeWorker[Task, Result], tasks: Iterable[Task], *, ordered: bool = True
    ) -> Iterator[Result]:
        ray = import_ray()
        with _connected(ray, self.address):
            pool = _RayPool(ray, self, make_worker, *self._room(ray))
            try:
                yield from Dispatcher(pool, tasks, ordered).results()
            finally:
                pool.close()

    def _room(self, ray: Any) -> tuple[int, float]:
        """Returns the number of workers to start, and the GPUs of each."""
        have = ray.cluster_resources()
        gpus = self.gpus_per_worker
        if gpus is None:
            gpus = 1.0 if self.device == "cuda" or (self.device == "auto" and have.get("GPU", 0)) else 0.0
        room = int(have.get("CPU", 0) / self.cpus_per_worker)
        if gpus:
            room = min(room, int(have.get("GPU", 0) / gpus))
        if room < 1:
            raise ConfigError(
                f"the Ray cluster has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs, too little for one "
                f"worker of {self.cpus_per_worker:g} and {gpus:g}"
            )
        return (room if self.num_workers is None else self.num_workers), gpus


class _RayPool(Pool):
    def __init__(self, ray: Any, engine: RayEngine, make_worker: Any, num_workers: int, gpus_per_worker: float):
        self.num_workers, self._ray, self._engine = num_workers, ray, engine
        actor = ray.remote(max_restarts=-1, max_task_retries=MOST_DEATHS)(_Actor).options(
            num_cpus=engine.cpus_per_worker, num_gpus=gpus_per_worker
        )
        device = engine.device if gpus_per_worker or engine.device == "cpu" else "cpu"
        self._maker = ray.put(make_worker)  # kept for as long as actors may be restarted
        self._actors = [actor.remote(self._maker, device) for _ in range(num_workers)]

    def submit(self, worker: int, task: Any) -> Any:
        return self._actors[worker].do.remote(task)

    def wait(self, handles: Collection[Any], timeout_s: float) -> Any:
        done, _ = self._ray.wait(list(handles), num_returns=1, timeout=timeout_s)
        return done[0] if done else None

    def results(self, handle: Any) -> Sequence[Any]:
        errors = self._ray.exceptions
        try:
            pid, results = self._ray.get(handle)
        except errors.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from error
            raise
        except errors.RayActorError as error:
            raise EngineError(f"Ray could not restart a worker, or it died {MOST_DEATHS} times: {error}") from error
        self._engine.pids.add(pid)
        return list(results)

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)


class _Actor:
    """A worker in its own process. It is made with the first task, so that its exceptions reach the caller."""

    def __init__(self, make_worker: MakeWorker[Any, Any], device: str):
        self.make_worker, self.device = make_worker, device
        self.worker: Worker[Any, Any] | None = None

    def do(self, task: Any) -> tuple[int, list[Any]]:
        if self.worker is None:
            self.worker = self.make_worker(self.device)
        return os.getpid(), list(self.worker.work(iter([task])))


def import_ray() -> Any:
    """Returns the ray module; raises ConfigError if it is not installed."""
    try:
        import ray
    except ImportError as error:
        command = install_command("ray", "ray")
        raise ConfigError(f"the ray engine needs ray: {command}, or use --engine local") from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connects to the cluster at an address, or starts Ray on this machine, unless the program did so already."""
    if ray.is_initialized():
        yield
        return
    if address is None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False)
    if main:
        signal.signal(signal.SIGTERM, before)  # Ray's handler would hide what ended the run
    try:
        yield
    finally:
        ray.shutdown()
