"""Examples in a fixed order, in batches that threads prepare ahead of the loop."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import islice
from typing import Any, Protocol

from ...core.read_ahead import read_groups_ahead


class Examples(Protocol):
    """An endless sequence of examples that can be started anywhere.

    `keys(n)` starts at the n-th example; `load(key)` depends on the key alone.
    """

    @property
    def num_items(self) -> int:
        """Number of recordings or dataset items that the examples are cut from."""
        ...

    def keys(self, samples_seen: int) -> Iterator[Any]:
        """Yields what identifies the examples, starting from the `samples_seen`-th."""
        ...

    def load(self, key: Any) -> Any:
        """Returns the example of a key; called from several threads."""
        ...

    def collate(self, examples: list[Any]) -> Any:
        """Returns a batch, which has `ids` and `to(device)`."""
        ...


def micro_batches(
    examples: Examples,
    *,
    first_step: int,
    batch_size: int,
    parts: int,
    rank: int = 0,
    world_size: int = 1,
    num_threads: int = 1,
    prefetch_batches: int = 4,
) -> Generator[Any, None, None]:
    """Yields batches for the loop without end, `parts` of them for each step.

    The order of examples depends on `batch_size` alone: process `rank` takes every `world_size`-th of each batch.

    Args:
        examples: the data.
        first_step: number of the step to start from.
        batch_size: examples of a step, over all processes and parts.
        parts: into which each process splits its share.
        rank: number of this process.
        world_size: number of processes.
        num_threads: that load examples.
        prefetch_batches: steps' worth of batches that are loaded or loading.

    Raises:
        ValueError: a batch that cannot be shared evenly.
    """
    if batch_size % (parts * world_size):
        raise ValueError(
            f"batch_size {batch_size} cannot be shared evenly by {world_size} process(es) x grad_accum {parts}"
        )
    groups = read_groups_ahead(
        examples.load,
        _micro_batch_keys(examples.keys(first_step * batch_size), batch_size, parts, rank, world_size),
        num_threads=num_threads,
        num_ahead=max(prefetch_batches, 1) * parts - 1,
    )
    with closing(groups):
        yield from map(examples.collate, groups)


def _micro_batch_keys(
    keys: Iterator[Any], batch_size: int, parts: int, rank: int, world_size: int
) -> Iterator[list[Any]]:
    """Yields the keys of this process, `parts` lists for each batch."""
    share = batch_size // world_size // parts
    while True:
        mine = list(islice(keys, batch_size))[rank::world_size]
        yield from (mine[part * share : (part + 1) * share] for part in range(parts))
