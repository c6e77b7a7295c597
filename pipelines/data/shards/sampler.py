"""An endless order of items whose whole state is one number: how many were drawn."""

from __future__ import annotations

import numpy as np
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
        self._last: tuple[int, np.ndarray] = (-1, np.zeros(0, np.int64))  # epoch and its order

    def order(self, epoch: int) -> np.ndarray:
        """Returns the items [num_items] of one epoch in the order in which they are drawn."""
        if not self.shuffle:
            return np.arange(self.num_items)
        if self._last[0] != epoch:
            order = torch.randperm(self.num_items, generator=keyed_generator(self.seed, epoch))
            self._last = epoch, order.numpy()
        return self._last[1]

    def draws(self, first: int, count: int) -> np.ndarray:
        """Returns some of the endless draws.

        Args:
            first: number of the first one.
            count: how many.

        Returns:
            [count, 2] int64, an epoch and the index of an item each.

        Raises:
            ValueError: a number below 0.
        """
        if first < 0 or count < 0:
            raise ValueError(f"draws are counted from 0, got {count} from {first} on")
        epochs, places = np.divmod(np.arange(first, first + count), self.num_items)
        found = np.stack([epochs, places], 1)
        for epoch in np.unique(epochs).tolist():
            mine = epochs == epoch
            found[mine, 1] = self.order(epoch)[places[mine]]
        return found
