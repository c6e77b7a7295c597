"""Random tensors drawn from an explicit generator, whatever device it lives on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


class BatchGenerator(torch.Generator):
    """The randomness of a part of a training batch: one generator for each example, and one that all parts share.

    `rand`, `randn` and `stratified` take the numbers of an example from its own generator, so they do not depend on how
    many processes and parts share the batch. As a plain generator it is the shared one: `torch.randint(...,
    generator=self)` gives the same number in all parts.

    Args:
        device: of the generators.
        key: of the whole batch, such as (seed, step).
        positions: of the examples of this part in the whole batch.
        total: number of examples of the whole batch.
    """

    def __new__(
        cls, device: torch.device | str, key: Sequence[object], positions: Sequence[int], total: int
    ) -> BatchGenerator:
        return super().__new__(cls, device)  # type: ignore[call-arg]  # torch's stub of Generator has no __new__

    def __init__(self, device: torch.device | str, key: Sequence[object], positions: Sequence[int], total: int):
        self.manual_seed(keyed_seed(*key))
        self.positions, self.total = tuple(positions), total
        self.rows = [torch.Generator(device).manual_seed(keyed_seed(*key, position)) for position in positions]


def randn(shape: Sequence[int], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Draws standard normal noise; a CPU generator gives the same noise on every device.

    Args:
        shape: of the result. With a `BatchGenerator` it is [B, ...], [B x n, ...] with n entries of each example in a
            row, or () for a number that all parts of the batch share.
        generator: the source; None: torch's own of the device of `like`.
        like: a tensor on the device and of the dtype of the result.

    Returns:
        Noise that was drawn in float32 on the generator's device.

    Raises:
        ValueError: a shape of another number of examples than the `BatchGenerator` has.
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


def stratified(batch: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Draws uniform numbers [B] in [0, 1) that cover the interval evenly: one random offset and even steps
    (Kingma et al., arXiv 2107.00630).

    Args:
        batch: B.
        generator: the source; with a `BatchGenerator` the steps are those of the whole batch.
        like: a tensor on the device and of the dtype of the result.

    Returns:
        The numbers.
    """
    positions: Sequence[int] = range(batch)
    total = batch
    if isinstance(generator, BatchGenerator):
        positions, total = generator.positions, generator.total
    steps = torch.tensor(positions, device=like.device, dtype=like.dtype) / total
    return (rand((), generator, like) + steps) % 1.0


def draw_seed(generator: torch.Generator | None) -> int:
    """Draws a seed for another generator; None: from torch's own generator."""
    device = "cpu" if generator is None else generator.device
    return int(torch.randint(2**62, (), generator=generator, device=device))


def keyed_seed(*key: object) -> int:
    """Returns a seed that is a function of the key alone, such as (seed, epoch, index).

    It is hashed to 32 bits, since torch's CPU generator uses no more of its seed, and neighbouring seeds are related.
    """
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), "little")


def keyed_generator(*key: object) -> torch.Generator:
    """Returns a CPU generator seeded with `keyed_seed`."""
    return torch.Generator().manual_seed(keyed_seed(*key))


def keyed_integers(numbers: np.ndarray, highs: np.ndarray, *key: object) -> np.ndarray:
    """Draws an integer for each of many numbers under one key, such as the items of an epoch under (seed, epoch).

    A draw depends on its number, its `high` and the key alone, not on the other numbers. The random bits are those of
    splitmix64 (Steele, Lea and Flood, 2014) started at a hash of the key, at the position that the number is.

    Args:
        numbers: [B] integers.
        highs: [B] integers from 1 to 2^32 - 1.
        key: of all draws.

    Returns:
        [B] int64 in 0..high - 1.
    """
    start = int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "little")
    bits = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)  # both wrap around
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    bits ^= bits >> np.uint64(31)
    drawn: np.ndarray = ((bits >> np.uint64(32)) * highs.astype(np.uint64) >> np.uint64(32)).astype(np.int64)
    return drawn


def _draw(
    source: Callable[..., Tensor], shape: Sequence[int], generator: torch.Generator | None, like: Tensor
) -> Tensor:
    device = generator.device if generator is not None else like.device
    if isinstance(generator, BatchGenerator) and len(shape):
        per_example, rest = divmod(shape[0], len(generator.rows))
        if rest:
            raise ValueError(f"noise of shape {tuple(shape)} for {len(generator.rows)} examples: give it as [B, ...]")
        drawn = [source((per_example, *shape[1:]), generator=row, device=device) for row in generator.rows]
        return torch.cat(drawn).to(like.device, like.dtype)
    return source(tuple(shape), generator=generator, device=device).to(like.device, like.dtype)
