"""The choice of an engine: which devices and processes do the work of a run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from ...core.config import option
from ...core.errors import ConfigError
from ...core.processes import Place
from .base import Engine
from .local import LocalEngine

LEAST_THREADS, MOST_THREADS = 2, 8  # of a process, to read ahead


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """How `engine: ray` spreads the work."""

    address: str | None = option(
        None, "Address of a running cluster, or auto. By default Ray starts on this machine for the run."
    )
    num_workers: int | None = option(
        None, "Number of actors, each with a network. By default as many as the cluster has room for."
    )
    cpus_per_worker: float = option(1.0, "Number of CPUs per actor.")
    gpus_per_worker: float | None = option(
        None, "Number of GPUs per actor; a fraction shares a GPU. By default 1 if the cluster has GPUs."
    )


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """Where the work of a run is done."""

    device: str = option(
        "auto", "Device to compute on: auto, cpu, cuda, cuda:1 and so on; auto and cuda use all GPUs of this machine."
    )
    engine: Literal["local", "ray"] = option("local", "Where the work is done: on this machine, or on a Ray cluster.")
    num_processes: int | None = option(
        None, "Number of processes of the local engine. By default one per GPU, and one without a GPU."
    )
    ray: RayConfig = option(factory=RayConfig, help="How the ray engine spreads the work.")

    def __post_init__(self) -> None:
        if self.num_processes is not None and self.num_processes < 1:
            raise ConfigError(f"num_processes must be at least 1, got {self.num_processes}")
        if self.num_processes is not None and self.engine == "ray":
            raise ConfigError("num_processes is for the local engine: set ray.num_workers")

    def devices(self) -> list[str]:
        """Returns the device of each process of the local engine."""
        import torch

        from ...core.device import pick_device

        device, num_gpus = pick_device(self.device), torch.cuda.device_count()
        if device.type == "cuda" and device.index is None and num_gpus > 1:
            return [f"cuda:{number % num_gpus}" for number in range(self.num_processes or num_gpus)]
        return [str(device)] * (self.num_processes or 1)

    def own_device(self) -> str:
        """Returns the device of this process, which with Ray need not have the GPUs that its workers have."""
        import torch

        return "cpu" if self.engine == "ray" and not torch.cuda.is_available() else self.device

    def threads_per_process(self) -> int:
        """Returns how many threads of each process may read ahead; they work only as fast as their results are used."""
        if self.engine == "ray":
            return max(LEAST_THREADS, round(self.ray.cpus_per_worker))
        processes = len(self.devices()) * Place.now().local_count
        return min(MOST_THREADS, max(LEAST_THREADS, available_cores() // processes))


def available_cores() -> int:
    """Returns the number of cores that this process may use, which a job scheduler may have limited."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def build_engine(config: EngineConfig) -> Engine:
    """Returns the engine that a config names.

    Raises:
        ConfigError: it is not installed, or cannot have this device; or Ray under torchrun or srun.
        ValueError: the device is unknown or not available.
    """
    if config.engine == "local":
        return LocalEngine(config.devices())
    place = Place.now()
    if place.count > 1:
        raise ConfigError(
            f"engine ray starts processes by itself, but this is process {place.rank} of {place.count} of "
            f"{place.launcher}: start one process, or use engine local"
        )
    from .ray import RayEngine, import_ray

    import_ray()
    wanted = config.ray
    return RayEngine(
        num_workers=wanted.num_workers,
        cpus_per_worker=wanted.cpus_per_worker,
        gpus_per_worker=wanted.gpus_per_worker,
        address=wanted.address,
        device=config.device,
    )
