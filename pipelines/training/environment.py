"""The device and the processes of a run, as accelerate sees them, and its seeds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ...core.random import keyed_seed
from .config import TrainConfig


def make_accelerator(config: TrainConfig) -> Any:
    """Returns an `Accelerator` for the device and precision of `config`.

    Raises:
        ValueError: the device is not available, or does not have this precision.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if config.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device is cuda, but torch sees no such device: use device=cpu or device=auto")
    if config.mixed_precision == "fp16" and (config.device == "cpu" or not torch.cuda.is_available()):
        raise ValueError("mixed_precision fp16 needs a CUDA device: use bf16 or no")
    # the state outlives a run and would refuse a second run with another precision in the same process
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    cpu = {"cpu": True} if config.device == "cpu" else {}
    return Accelerator(mixed_precision=config.mixed_precision, **cpu)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Restores torch's global random state at the end."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        yield


def keyed_noise(device: torch.device, *key: object) -> torch.Generator:
    """Returns a generator on `device` seeded by the key, and seeds torch's global ones, which dropout uses, alike."""
    seed = keyed_seed(*key)
    torch.manual_seed(seed)
    return torch.Generator(device).manual_seed(seed)
