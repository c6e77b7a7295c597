"""Reads a shard dataset at random, as a map-style dataset over memory-mapped shards."""

from __future__ import annotations

import copy
import json
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
from .columns import INDEX_FILE, ItemColumns
from .remote import fetch_dataset
from .shard import REPAIR, ShardFile, shard_name
from .statistics import latent_statistics

if TYPE_CHECKING:
    from ....tokenizers.base import AudioTokenizer
    from .mixture import MixedDataset

logger = logging.getLogger(__name__)

DATASET_FORMAT = "latentune-dataset"
DATASET_VERSION = 3  # 1 had one plan for all time; 2 an index with values that were not those of the shards
DATASET_FILE = "dataset.json"
SILENCE_FILE = "silence.safetensors"
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


@dataclass(frozen=True, kw_only=True)
class Silence:
    """One chunk of the codec's silence, which padding is made of."""

    latents: Tensor | None  # [chunk_latents, D] float32
    tokens: Tensor | None  # [chunk_tokens, Q] int64


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


def read_dataset_json(folder: Path) -> dict[str, Any]:
    """Returns the contents of `dataset.json`.

    Raises:
        DatasetError: the folder does not exist, is not a dataset, or has a newer format.
    """
    path = folder / DATASET_FILE
    if not folder.is_dir():
        raise DatasetError(f"no dataset at {folder}: there is no such folder")
    if not path.is_file():
        raise DatasetError(f"{folder} is not a dataset: it holds no {DATASET_FILE}; make one with `latentune encode`")
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known, version = info["format"] == DATASET_FORMAT, info["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is corrupt ({error!r}): encode again") from error
    if not known:
        raise DatasetError(f"{path} is not the description of a latent dataset")
    if version > DATASET_VERSION:
        raise DatasetError(f"{path} has format version {version}, newer than this program's: update latentune")
    return info


def refuse_dataset(folder: str | Path) -> None:
    """Raises ValueError if an output is a dataset or lies in one, whose files are replaced or removed by `encode`."""
    path = Path(folder).expanduser().absolute()
    for parent in (path, *path.parents):
        if (parent / DATASET_FILE).is_file():
            raise ValueError(f"cannot write to {path}: {parent} is a dataset; choose another output")


def open_shards(folder: Path, info: Mapping[str, Any]) -> list[ShardFile]:
    """Opens the dataset's shards, in order; if it is not complete, those that are there."""
    plan = info["plan"]
    paths = [folder / "shards" / shard_name(number) for number in plan.get("shards", range(plan["num_shards"]))]
    if not info["complete"]:
        present = [path for path in paths if path.exists()]
        logger.warning(
            "%s is not complete: %d of %d shards are there; run encode again to finish it",
            folder,
            len(present),
            len(paths),
        )
        paths = present
    shards = [ShardFile(path) for path in paths]
    contents = {shard["name"]: shard.get("content") for shard in info.get("shards", ())}
    for shard in shards:
        wanted = {
            "fingerprint": info["tokenizer"]["fingerprint"],
            "job": info["job"],
            "content": contents.get(shard.path.name),
        }
        wrong = [name for name, value in wanted.items() if value is not None and shard.header.get(name) != value]
        if wrong:
            raise DatasetError(f"shard {shard.path} is not of this dataset ({wrong[0]} differs): {REPAIR}")
    return shards


def read_silence(folder: Path, spec: TokenizerSpec, streams: tuple[str, ...]) -> Silence:
    """Reads `silence.safetensors`.

    Args:
        folder: of the dataset.
        spec: of the codec.
        streams: that the dataset holds.

    Returns:
        One chunk of digital silence in each stream that the dataset holds.

    Raises:
        DatasetError: the file is missing or does not fit the codec.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / SILENCE_FILE
    try:
        tensors = load_file(path)
        latents = tensors["latents"].float() if "latents" in streams else None
        tokens = tensors["tokens"].long() if "tokens" in streams else None
    except (OSError, SafetensorError, KeyError) as error:
        raise DatasetError(f"{path} is missing or corrupt ({error}): delete it and run encode again") from error
    fits_latents = latents is None or latents.shape == (spec.chunk_latents, spec.latent_dim)
    fits_tokens = tokens is None or tokens.shape == (spec.chunk_tokens, spec.tokens_per_frame)
    if not (fits_latents and fits_tokens):
        raise DatasetError(f"{path} does not fit the dataset's codec: delete it and run encode again")
    return Silence(latents=latents, tokens=tokens)
