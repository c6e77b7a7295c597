"""An endless order of items whose whole state is one number: how many were drawn."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ....core.random import keyed_generator


class ResumableSampler:
    """Draws every item once per epoch, in an order that depends only on seed and epoch.

    The order does not depend on processes: rank r of w takes draws r, r + w, r + 2w, ... of it, so that a run can be
    resumed with another number of processes.
    """

    def __init__(self, num_items: int, seed: int, shuffle: bool = True):
        if num_items < 1:
            raise ValueError("nothing to draw from: the dataset has no items")
        self.num_items = num_items
        self.seed = seed
        self.shuffle = shuffle

    def order(self, epoch: int) -> list[int]:
        """Returns the items of one epoch in the order in which they are drawn."""
        if not self.shuffle:
            return list(range(self.num_items))
        return torch.randperm(self.num_items, generator=keyed_generator(self.seed, epoch)).tolist()

    def iter_from(self, samples_seen: int) -> Iterator[tuple[int, int]]:
        """Yields draws (epoch, index) without end, after the first `samples_seen`."""
        if samples_seen < 0:
            raise ValueError(f"samples_seen must be >= 0, got {samples_seen}")
        epoch, skip = divmod(samples_seen, self.num_items)
        while True:
            for index in self.order(epoch)[skip:]:
                yield epoch, index
            epoch, skip = epoch + 1, 0
