"""Random tensors drawn from an explicit generator, whatever device it lives on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


def randn(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Standard normal noise of `shape`, in float32 on the generator's device, moved to the device and dtype of `like`.

    A CPU generator thus gives the same noise on every device.
    """
    device = generator.device if generator is not None else like.device
    return torch.randn(tuple(shape), generator=generator, device=device).to(like.device, like.dtype)


def rand(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Uniform noise in [0, 1), otherwise as `randn`."""
    device = generator.device if generator is not None else like.device
    return torch.rand(tuple(shape), generator=generator, device=device).to(like.device, like.dtype)


def keyed_seed(*key: object) -> int:
    """A seed that is a function of the key alone: of (seed, epoch, index), say.

    Hashed to 32 bits, for torch's CPU generator looks at no more of its seed, and neighbouring seeds are related.
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), "little")


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator seeded with `keyed_seed`."""
    return torch.Generator().manual_seed(keyed_seed(*key))
