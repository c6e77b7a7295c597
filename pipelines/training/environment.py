"""The device and the processes of a run, as accelerate sees them, and its seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch

from ...core.device import pick_device, pick_dtype
from ...core.random import BatchGenerator, keyed_seed
from .config import TrainConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """The place of this process among those of a run."""

    rank: int = 0
    count: int = 1

    def share(self, num: int) -> range:
        """Returns which of `num` pieces of work this process does; every process has a share of the same size +- 1."""
        return range(self.rank, num, self.count)

    def gather(self, mine: Sequence[T]) -> list[T]:
        """Returns, in every process, what all of them made of their shares, in the order of the pieces of work."""
        parts = self.collect(list(mine))
        return [parts[n % self.count][n // self.count] for n in range(sum(map(len, parts)))]

    def collect(self, mine: T) -> list[T]:
        """Returns, in every process, the objects of all processes by rank."""
        if self.count == 1:
            return [mine]
        found: list[Any] = [None] * self.count
        torch.distributed.all_gather_object(found, mine)
        return found

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the sum of `values` over all processes."""
        if self.count > 1:
            torch.distributed.all_reduce(values := values.clone())
        return values


def processes_of(accelerator: Any) -> Processes:
    """Returns the place of this process in the run of an accelerator."""
    return Processes(accelerator.process_index, accelerator.num_processes)


# dtype of the forward pass -> what accelerate calls it
MIXED = {torch.float32: "no", torch.bfloat16: "bf16", torch.float16: "fp16"}


def make_accelerator(config: TrainConfig) -> Any:
    """Returns an `Accelerator` for the device and precision of `config`.

    Raises:
        ValueError: the device is not available, or does not have this precision.
    """
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    device = pick_device(config.device)
    dtype = pick_dtype(config.precision, device)
    if device.type == "cuda" and config.precision != "fp32":
        torch.set_float32_matmul_precision("high")
    # the state outlives a run and would refuse a second run with another precision in the same process
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    cpu = {"cpu": True} if config.device == "cpu" else {}
    group = InitProcessGroupKwargs(timeout=timedelta(minutes=config.process_timeout_min))
    return Accelerator(mixed_precision=MIXED[dtype], kwargs_handlers=[group], **cpu)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Restores torch's global random state at the end."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def batch_noise(device: torch.device, key: Sequence[object], positions: Sequence[int], total: int) -> BatchGenerator:
    """Returns the noise of a part of a batch, and seeds torch's global generators, which dropout uses.

    Args:
        device: of the noise.
        key: of the whole batch.
        positions: of the examples of this part in the whole batch.
        total: number of examples of the whole batch.

    Returns:
        The generator for the objective.
    """
    torch.manual_seed(keyed_seed(*key, "global", *positions))
    return BatchGenerator(device, key, positions, total)
