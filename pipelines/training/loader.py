"""Examples in a fixed order, prepared by threads ahead of the loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol


class Examples(Protocol):
    """An endless sequence of examples that can be entered anywhere.

    `keys(n)` starts at the n-th example; `load(key)` depends on nothing but the key.
    """

    @property
    def num_items(self) -> int:
        """Number of recordings or dataset items that the examples are cut from."""
        ...

    def keys(self, samples_seen: int) -> Iterator[Any]:
        """What tells the examples apart, from the `samples_seen`-th on."""
        ...

    def load(self, key: Any) -> Any:
        """The example of a key; called from several threads."""
        ...

    def collate(self, examples: list[Any]) -> Any:
        """A batch, with `ids` and `to(device)`."""
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
    """Batches for the loop, `parts` of them a step, from step `first_step` on, without end.

    The order of examples depends on `batch_size` alone: process `rank` takes every `world_size`-th of each batch.

    Raises:
        ValueError: a batch that cannot be shared out evenly.
    """
    if batch_size % (parts * world_size):
        raise ValueError(
            f"batch_size {batch_size} cannot be shared evenly by {world_size} process(es) x grad_accum {parts}"
        )
    share = batch_size // world_size // parts
    keys = examples.keys(first_step * batch_size)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="examples")
    waiting: deque[list[Future[Any]]] = deque()
    try:
        while True:
            while len(waiting) < max(prefetch_batches, 1) * parts:
                mine = list(islice(keys, batch_size))[rank::world_size]
                for part in range(parts):
                    chosen = mine[part * share : (part + 1) * share]
                    waiting.append([pool.submit(examples.load, key) for key in chosen])
            yield examples.collate([future.result() for future in waiting.popleft()])
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def fixed_batches(examples: Examples, count: int, batch_size: int) -> Iterator[Any]:
    """The first `count` examples in batches of at most `batch_size`: the same at every call."""
    keys = list(islice(examples.keys(0), count))
    for start in range(0, count, batch_size):
        yield examples.collate([examples.load(key) for key in keys[start : start + batch_size]])
