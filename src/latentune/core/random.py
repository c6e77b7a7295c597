"""Random tensors drawn from an explicit generator, whatever device it lives on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def randn(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draws standard normal noise; a CPU generator gives the same noise on every device.

    Args:
        shape: of the result.
        generator: the source; None: torch's own of the device of `like`.
        like: a tensor on the device and of the dtype of the result.

    Returns:
        Noise that was drawn in float32 on the generator's device.
    """
    return _draw(torch.randn, shape, generator, like)


def rand(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draws uniform noise in [0, 1), otherwise as `randn`.

    Args:
        shape: of the result.
        generator: the source; None: torch's own of the device of `like`.
        like: a tensor on the device and of the dtype of the result.

    Returns:
        Noise that was drawn in float32 on the generator's device.
    """
    return _draw(torch.rand, shape, generator, like)


def keyed_seed(*key: object) -> int:
    """Returns a seed that is a function of the key alone, such as (seed, epoch, index).

    It is hashed to 32 bits, since torch's CPU generator uses no more of its seed, and neighbouring seeds are related.
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), "little")


def keyed_generator(*key: object) -> torch.Generator:
    """Returns a CPU generator seeded with `keyed_seed`."""
    return torch.Generator().manual_seed(keyed_seed(*key))


def _draw(
    source: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None, like: Tensor
) -> Tensor:
    device = generator.device if generator is not None else like.device
    return source(tuple(shape), generator=generator, device=device).to(like.device, like.dtype)
