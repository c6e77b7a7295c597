"""Reads a shard dataset at random, as a map-style dataset over memory-mapped shards."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ....core.config import build_config
from ....core.errors import ConfigError, DatasetError, MismatchError
from ....core.storage import is_url, place_of
from ....generators.binding import TokenizerBinding
from ....tokenizers.spec import TokenizerSpec
from .columns import ItemColumns
from .dataset_files import DATASET_FILE, DATASET_VERSION, Silence, open_shards, read_dataset_json, read_silence
from .index_table import INDEX_FILE
from .remote import fetch_dataset
from .shard import ShardFile
from .statistics import latent_statistics

if TYPE_CHECKING:
    from ....tokenizers.base import AudioTokenizer
    from .mixture import MixedDataset

logger = logging.getLogger(__name__)

MIN_STD = 1e-4  # so that a constant channel does not lead to a division by zero in the normalization


@dataclass(frozen=True, kw_only=True)
class LatentItem:
    """One item, or a crop of it. A stream that the dataset lacks is None, and so is its mask."""

    id: str
    latents: Tensor | None  # [T, D] float32
    tokens: Tensor | None  # [T', Q] int64
    latent_mask: Tensor | None  # [T] bool, True where the frame is real
    token_mask: Tensor | None  # [T'] bool
    num_samples: int  # length of the real part, at the codec's rate
    duration_s: float  # the same in seconds
    seconds_start: float  # where in its recording the item starts
    seconds_total: float  # length of the whole recording
    metadata: dict[str, Any]


class LatentDataset(Dataset[LatentItem]):
    """The items of a dataset folder, in the order of its plan.

    A dataset that is still being encoded opens as well, with the shards that are there; `complete` is then False.

    Args:
        path: the folder that `latentune encode` wrote, or its URL, from which it is copied to a cache folder.
        where: keep the items whose metadata has these values; a list allows any of its values.

    Raises:
        DatasetError: no dataset there, or a shard of it is missing or corrupt (named, with what to do).
    """

    def __init__(self, path: str | Path, *, where: Mapping[str, Any] | None = None):
        place = place_of(path) if is_url(path) else Path(path)
        self.path = fetch_dataset(place) if isinstance(place, str) else place
        self.info = read_dataset_json(self.path)
        try:
            self.spec = build_config(TokenizerSpec, self.info["tokenizer"]["spec"])
            self.fingerprint: str = self.info["tokenizer"]["fingerprint"]
            self.streams = tuple(self.info["settings"]["streams"])
            self.shards = open_shards(self.path, self.info)
        except (KeyError, TypeError, ConfigError) as error:
            raise DatasetError(f"{self.path / DATASET_FILE} is not complete ({error!r}): encode again") from error
        self._starts = np.cumsum([0, *(shard.num_items for shard in self.shards)])
        self._columns: ItemColumns | None = None
        self._kept = self.columns.where(where) if where else None  # numbers of the items; None: all
        self._silence: Silence | None = None
        self._statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def parts(self) -> tuple[LatentDataset, ...]:
        """The datasets that this one consists of; see `MixedDataset`."""
        return (self,)

    @property
    def complete(self) -> bool:
        """False while the dataset is still being encoded."""
        return bool(self.info["complete"])

    @property
    def latent_mean(self) -> tuple[float, ...]:
        """[D] mean of each latent channel over all items; empty without a latent stream."""
        return self._latent_statistics()[0]

    @property
    def latent_std(self) -> tuple[float, ...]:
        """[D] standard deviation of each latent channel over all items; empty without a latent stream."""
        return self._latent_statistics()[1]

    @property
    def silence(self) -> Silence:
        """One chunk of the codec's silence, which padding is made of."""
        if self._silence is None:
            self._silence = read_silence(self.path, self.spec, self.streams)
        return self._silence

    @property
    def columns(self) -> ItemColumns:
        """The facts and the metadata of all items column by column, also of those that `where` leaves out.

        Raises:
            DatasetError: `index.parquet` is missing or corrupt.
        """
        if self._columns is None:
            if self.complete and self.info["version"] >= DATASET_VERSION:
                recorded = self.info.get("files", {}).get(INDEX_FILE)
                self._columns = ItemColumns.of_file(self.path / INDEX_FILE, recorded, int(self._starts[-1]))
            else:
                self._columns = ItemColumns.of_shards(self.shards)
        return self._columns

    @property
    def rows(self) -> np.ndarray:
        """Places of the items [N] in the columns."""
        return np.arange(self._starts[-1]) if self._kept is None else self._kept

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._kept is None else len(self._kept)

    def only(self, kept: np.ndarray) -> LatentDataset:
        """Returns the same dataset with some of its items, those where `kept` [N] bool is True."""
        part = copy.copy(self)
        part._kept = self.rows[kept]
        return part

    def split(self, indices: np.ndarray) -> list[tuple[LatentDataset, np.ndarray, np.ndarray]]:
        """Returns the dataset of each item, as `MixedDataset.split` does."""
        return [(self, np.arange(len(indices)), indices)]

    def places(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns where items are.

        Args:
            indices: [B] of the items.

        Returns:
            Their places in the columns, the numbers of their shards in `shards`, and their rows there, [B] each.
        """
        rows = indices if self._kept is None else self._kept[indices]
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        return rows, shards, rows - self._starts[shards]

    def __getitem__(self, index: int) -> LatentItem:
        shard, row = self._locate(index)
        meta = shard.meta(row)
        latents, tokens = shard.stream("latents", row), shard.stream("tokens", row)
        return LatentItem(
            id=meta["id"],
            latents=latents,
            tokens=tokens,
            latent_mask=None if latents is None else torch.ones(len(latents), dtype=torch.bool),
            token_mask=None if tokens is None else torch.ones(len(tokens), dtype=torch.bool),
            num_samples=meta["num_samples"],
            duration_s=meta["duration_s"],
            seconds_start=meta["start_s"],
            seconds_total=meta["total_s"],
            metadata=meta["metadata"],
        )

    def meta(self, index: int) -> dict[str, Any]:
        """Returns the facts about an item, without reading its streams: id, path, num_samples, metadata and so on."""
        shard, row = self._locate(index)
        return shard.meta(row)

    def metas(self) -> Iterator[dict[str, Any]]:
        """Yields `meta` of every item, in order."""
        return (self.meta(index) for index in range(len(self)))

    def _locate(self, index: int) -> tuple[ShardFile, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"item {index} of a dataset of {len(self)} items")
        _, shard, row = self.places(np.array([index % len(self)]))
        return self.shards[int(shard[0])], int(row[0])

    def _latent_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        if self._statistics is None:
            if self.complete:
                self._statistics = tuple(self.info["latent_mean"]), tuple(self.info["latent_std"])
            else:
                self._statistics = latent_statistics(self.shards)
        return self._statistics


def dataset_binding(dataset: LatentDataset | MixedDataset) -> TokenizerBinding:
    """Returns what a generator trained on this dataset must know about the codec."""
    return TokenizerBinding(
        spec=dataset.spec,
        fingerprint=dataset.fingerprint,
        latent_mean=dataset.latent_mean,
        latent_std=tuple(max(std, MIN_STD) for std in dataset.latent_std),
    )


def check_tokenizer(dataset: LatentDataset | MixedDataset, tokenizer: AudioTokenizer) -> None:
    """Raises MismatchError unless `dataset` was encoded with this tokenizer."""
    fingerprint = tokenizer.fingerprint()
    if fingerprint != dataset.fingerprint:
        raise MismatchError(
            f"dataset {dataset.path} was encoded with {dataset.info['tokenizer']['source']} (fingerprint "
            f"{dataset.fingerprint[:12]}), not with this tokenizer ({fingerprint[:12]}): load that one or encode again"
        )
