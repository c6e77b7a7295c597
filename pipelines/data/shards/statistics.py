"""Mean and standard deviation of each latent channel over whole shards, in float64 and in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from .shard import ShardFile

BLOCK_ROWS = 65536  # frames worked on at once


class LatentStatistics:
    """Mean and (population) standard deviation of the latents of shards that are added one after another.

    Blocks are merged by Chan's update, so that the result is exact for any mean and depends only on the shards.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean: np.ndarray = np.zeros(1)
        self.squares: np.ndarray = np.zeros(1)

    def add(self, shard: ShardFile) -> None:
        """Adds the latents of a shard, if it holds any."""
        if not shard.has("latents"):
            return
        latents = shard.array("latents")
        for begin in range(0, len(latents), BLOCK_ROWS):
            block = latents[begin : begin + BLOCK_ROWS].astype(np.float64)
            block_mean = block.mean(0)
            total = self.count + len(block)
            delta = block_mean - self.mean
            self.mean = self.mean + delta * (len(block) / total)
            block -= block_mean
            np.square(block, out=block)
            self.squares = self.squares + block.sum(0) + delta**2 * (self.count * len(block) / total)
            self.count = total

    def result(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Returns mean [D] and standard deviation [D]; both are empty if there are no latents."""
        if self.count == 0:
            return (), ()
        return tuple(map(float, self.mean)), tuple(map(float, np.sqrt(self.squares / self.count)))


def latent_statistics(shards: Iterable[ShardFile]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean [D] and standard deviation [D] of the latents of shards; see `LatentStatistics`."""
    statistics = LatentStatistics()
    for shard in shards:
        statistics.add(shard)
    return statistics.result()
