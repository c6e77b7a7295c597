"""Examples in a fixed order, in batches that threads prepare ahead of the loop."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import count
from typing import Any, Protocol

from ...core.read_ahead import read_ahead


class Examples(Protocol):
    """An endless sequence of examples that can be started anywhere.

    `keys(first, count)` is a part of it; an example of `batch(keys)` depends on its own key alone.
    """

    @property
    def num_items(self) -> int:
        """Number of recordings or dataset items that the examples are cut from."""
        ...

    def keys(self, first: int, count: int) -> Any:
        """Returns what identifies `count` examples, starting from the `first`-th, as an array or a range."""
        ...

    def batch(self, keys: Any) -> Any:
        """Returns a batch, which has `ids` and `to(device)`, of some of these keys; called from several threads."""
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
        num_threads: that make batches, each one of its own.
        prefetch_batches: steps' worth of batches that are ready or in the making; at least one per thread.

    Raises:
        ValueError: a batch that cannot be shared evenly.
    """
    if batch_size % (parts * world_size):
        raise ValueError(
            f"batch_size {batch_size} cannot be shared evenly by {world_size} process(es) x grad_accum {parts}"
        )
    batches = read_ahead(
        examples.batch,
        _micro_batch_keys(examples, first_step, batch_size, parts, rank, world_size),
        num_threads=num_threads,
        num_ahead=max(prefetch_batches * parts, num_threads, 1) - 1,
    )
    with closing(batches):
        yield from batches


def _micro_batch_keys(
    examples: Examples, first_step: int, batch_size: int, parts: int, rank: int, world_size: int
) -> Iterator[Any]:
    """Yields the keys of this process, of `parts` batches for each step."""
    share = batch_size // world_size // parts
    for step in count(first_step):
        mine = examples.keys(step * batch_size, batch_size)[rank::world_size]
        yield from (mine[part * share : (part + 1) * share] for part in range(parts))
