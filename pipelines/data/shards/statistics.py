"""Mean and standard deviation of each latent channel over whole shards, in float64 and in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .shard import ShardFile

BLOCK_ROWS = 65536  # frames worked on at once


def latent_statistics(shards: Iterable[ShardFile]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean [D] and (population) standard deviation [D] of the latents; both are empty if there are none.

    Blocks are merged by Chan's update, so that the result is exact for any mean and depends only on the shards.
    """
    count = 0
    mean: np.ndarray = np.zeros(1)
    squares: np.ndarray = np.zeros(1)
    for shard in shards:
        if not shard.has("latents"):
            continue
        latents = shard.array("latents")
        for begin in range(0, len(latents), BLOCK_ROWS):
            block = latents[begin : begin + BLOCK_ROWS].astype(np.float64)
            block_mean = block.mean(0)
            total = count + len(block)
            delta = block_mean - mean
            mean = mean + delta * (len(block) / total)
            squares = squares + ((block - block_mean) ** 2).sum(0) + delta**2 * (count * len(block) / total)
            count = total
    if count == 0:
        return (), ()
    return tuple(map(float, mean)), tuple(map(float, np.sqrt(squares / count)))
