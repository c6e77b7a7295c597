"""What a run stands on: accelerate's view of device and processes, and seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...core.random import keyed_seed
from .config import TrainConfig


def make_accelerator(config: TrainConfig) -> Any:
    """An `Accelerator` for the device and precision of `config`.

    Raises:
        ValueError: a device that is not there, or a precision that it does not have.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no such device: use device=cpu or device=auto")
    if config.mixed_precision == "fp16" and (config.device == "cpu" or not torch.cuda.is_available()):
        raise ValueError("mixed_precision fp16 needs a CUDA device: use bf16 or no")
    # the state outlives a run, and would refuse a second run of other precision in the same process
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    # a batch without texts or labels leaves the weights that read them without gradient
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    cpu = {"cpu": True} if config.device == "cpu" else {}
    return Accelerator(mixed_precision=config.mixed_precision, kwargs_handlers=[unused], **cpu)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Leave torch's global generators as they were."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def keyed_noise(device: torch.device, *key: object) -> torch.Generator:
    """A generator on `device` that the key determines; torch's global ones, which dropout draws from, are set alike."""
    seed = keyed_seed(*key)
    torch.manual_seed(seed)
    return torch.Generator(device).manual_seed(seed)
