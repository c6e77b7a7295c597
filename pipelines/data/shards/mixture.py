"""Several datasets of one tokenizer, drawn from as one with a share for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ....core.errors import MismatchError
from ....core.random import keyed_generator
from .dataset_files import Silence
from .read import LatentDataset, LatentItem
from .sampler import ResumableSampler

BLOCK = 256  # draws, in which every dataset has its share to one draw


class MixedDataset(Dataset[LatentItem]):
    """The items of several datasets, one dataset after another.

    Args:
        parts: at least one dataset, each with items.
        weights: share of the draws of each dataset; None gives every item the same share.

    Raises:
        MismatchError: they are of different tokenizers or have different streams.
    """

    def __init__(self, parts: Sequence[LatentDataset], weights: Sequence[float] | None = None):
        self.parts, self.weights = tuple(parts), None if weights is None else tuple(weights)
        first = self.parts[0]
        for part in self.parts:
            if (part.fingerprint, part.streams) != (first.fingerprint, first.streams):
                raise MismatchError(
                    f"dataset {part.path} is of {part.info['tokenizer']['source']} with {', '.join(part.streams)}, "
                    f"{first.path} of {first.info['tokenizer']['source']} with {', '.join(first.streams)}: "
                    "mix datasets of one tokenizer and the same streams"
                )
        self.path = ", ".join(str(part.path) for part in self.parts)
        self.info, self.spec, self.fingerprint, self.streams = first.info, first.spec, first.fingerprint, first.streams
        self._starts = np.cumsum([0, *map(len, self.parts)])

    @property
    def silence(self) -> Silence:
        """One chunk of the codec's silence, which padding is made of."""
        return self.parts[0].silence

    @property
    def latent_mean(self) -> tuple[float, ...]:
        """[D] mean of each latent channel over what is drawn; empty without a latent stream."""
        return self._statistics()[0]

    @property
    def latent_std(self) -> tuple[float, ...]:
        """[D] standard deviation of each latent channel over what is drawn; empty without a latent stream."""
        return self._statistics()[1]

    def locate(self, index: int) -> tuple[int, int]:
        """Returns the number of the dataset that holds an item, and the item's index there."""
        if not 0 <= index < len(self):
            raise IndexError(f"item {index} of datasets of {len(self)} items")
        part = int(np.searchsorted(self._starts, index, side="right")) - 1
        return part, index - int(self._starts[part])

    def split(self, indices: np.ndarray) -> list[tuple[LatentDataset, np.ndarray, np.ndarray]]:
        """Returns the dataset of each item.

        Args:
            indices: [B] of the items.

        Returns:
            For each dataset that has some of them: itself, their positions among the B, and their indices there.
        """
        parts = np.searchsorted(self._starts, indices, side="right") - 1
        found = []
        for part in np.unique(parts).tolist():
            positions = np.flatnonzero(parts == part)
            found.append((self.parts[part], positions, indices[positions] - self._starts[part]))
        return found

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> LatentItem:
        part, own = self.locate(index)
        return self.parts[part][own]

    def metas(self) -> Iterator[dict[str, Any]]:
        """Yields the facts about every item, in order; see `LatentDataset.meta`."""
        for part in self.parts:
            yield from part.metas()

    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and variance of a mixture: those of its parts, by their share of the frames or of the draws."""
        if "latents" not in self.streams:
            return (), ()
        sizes = self.weights or [sum(shard.size("latents") for shard in part.shards) for part in self.parts]
        shares = np.asarray(sizes, np.float64)[:, None] / np.sum(sizes)
        means = np.array([part.latent_mean for part in self.parts])
        stds = np.array([part.latent_std for part in self.parts])
        mean = (shares * means).sum(0)
        variance = (shares * (stds**2 + (means - mean) ** 2)).sum(0)
        return tuple(mean.tolist()), tuple(np.sqrt(variance).tolist())


class MixtureSampler:
    """Draws from several datasets by weight, each in its own `ResumableSampler` order.

    As there, the whole state is the number of draws, and the order does not depend on processes.

    Args:
        sizes: items of each dataset.
        weights: share of the draws of each dataset.
        seed: of the order.
        shuffle: False keeps the order within each dataset and each block of draws.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], seed: int, shuffle: bool = True):
        self.seed, self.shuffle = seed, shuffle
        self.samplers = [ResumableSampler(size, seed, shuffle) for size in sizes]
        self.starts = np.cumsum([0, *sizes])
        self._shares = np.cumsum([0.0, *weights]) / np.sum(weights)
        self._shares[-1] = 1.0

    def draws(self, first: int, count: int) -> np.ndarray:
        """Returns some of the endless draws, as `ResumableSampler.draws` does: epochs of a dataset, indices over all.

        Args:
            first: number of the first one.
            count: how many.
        """
        if first < 0 or count < 0:
            raise ValueError(f"draws are counted from 0, got {count} from {first} on")
        blocks = range(first // BLOCK, -(-(first + count) // BLOCK))
        found = np.concatenate([np.zeros((0, 2), np.int64), *(self._block(block) for block in blocks)])
        skip = first - blocks.start * BLOCK
        return found[skip : skip + count]

    def _drawn_before(self, block: int) -> np.ndarray:
        """Returns how many draws of each dataset the blocks before have."""
        counts: np.ndarray = np.diff(np.floor(block * BLOCK * self._shares)).astype(np.int64)
        return counts

    def _block(self, block: int) -> np.ndarray:
        """Returns the draws [BLOCK, 2] of a block."""
        before = self._drawn_before(block)
        counts = self._drawn_before(block + 1) - before
        parts = np.repeat(np.arange(len(counts)), counts)
        if self.shuffle:
            order = torch.randperm(BLOCK, generator=keyed_generator(self.seed, "mixture", block))
            parts = parts[order.numpy()]
        found = np.empty((BLOCK, 2), np.int64)
        for part, sampler in enumerate(self.samplers):
            drawn = sampler.draws(int(before[part]), int(counts[part]))
            drawn[:, 1] += self.starts[part]
            found[parts == part] = drawn
        return found
