"""Random crops of a shard dataset, which depend only on (seed, epoch, item)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...core.errors import DatasetError, TrainingError
from ...core.random import keyed_generator
from ...generators.base import LatentBatch
from ...generators.conditioning import ConditionEncoder
from ...generators.conditions import Conditions
from ..data.shards import (
    LatentDataset,
    LatentItem,
    MixedDataset,
    MixtureSampler,
    ResumableSampler,
    collate,
    random_crop,
)
from ..data.shards.verify import verify_dataset
from .conditions import condition_columns
from .data_config import LatentDataConfig, sources_of
from .values import ConditionValues


class LatentCrops:
    """Endless examples out of a dataset, every item once per epoch.

    Args:
        dataset: at least one item.
        config: length of the crops and columns of the conditions.
        seed: of the order and the crops.
        shuffle: False takes the items in the dataset's order.
        encoder: the conditions of the generator, which batches are prepared for; None leaves them as they are read.
    """

    def __init__(
        self,
        dataset: LatentDataset | MixedDataset,
        config: LatentDataConfig,
        seed: int,
        shuffle: bool = True,
        encoder: ConditionEncoder | None = None,
    ):
        self.dataset, self.config, self.seed, self.encoder = dataset, config, seed, encoder
        self.sampler = _sampler(dataset, seed, shuffle)
        self.silence = dataset.silence
        self.crop_chunks = dataset.spec.nearest_chunks(config.crop_s)
        self.columns = condition_columns(config.conditions, encoder)
        self.values = [ConditionValues(part, self.columns, encoder) for part in dataset.parts]

    @property
    def num_items(self) -> int:
        return len(self.dataset)

    def keys(self, samples_seen: int) -> Iterator[tuple[int, int]]:
        return self.sampler.iter_from(samples_seen)

    def load(self, key: tuple[int, int]) -> LatentItem:
        """Returns a crop of the item of an (epoch, index), with the values of its conditions as its metadata."""
        epoch, index = key
        generator = keyed_generator(self.seed, epoch, index)
        item = random_crop(self.dataset[index], self.dataset.spec, self.crop_chunks, self.silence, generator)
        part = self.dataset.locate(index)[0] if isinstance(self.dataset, MixedDataset) else 0
        return replace(item, metadata=self.values[part].of(item, generator))

    def collate(self, examples: list[LatentItem]) -> LatentBatch:
        """Returns crops as a batch, its conditions as tensors: a network sees no text."""
        names = {name: name for name in self.columns}  # `load` named the values so
        batch = collate(examples, self.dataset.spec, self.silence, columns=names)
        if self.encoder is None or not isinstance(batch.conditions, Conditions):
            return batch
        return replace(batch, conditions=self.encoder.prepare(batch.conditions))


def _sampler(dataset: LatentDataset | MixedDataset, seed: int, shuffle: bool) -> ResumableSampler | MixtureSampler:
    if isinstance(dataset, MixedDataset) and dataset.weights is not None:
        return MixtureSampler([len(part) for part in dataset.parts], dataset.weights, seed, shuffle)
    return ResumableSampler(len(dataset), seed, shuffle)


def open_latents(config: LatentDataConfig, held_out: bool = False) -> LatentDataset | MixedDataset:
    """Opens the training or the held-out dataset that `config` names, or several as one.

    Raises:
        DatasetError: no dataset there, or a corrupt one.
        MismatchError: the datasets are of different tokenizers or have different streams.
        TrainingError: one has no items, or none that `where` keeps.
    """
    source = (config.valid_source or config.source) if held_out else config.source
    where: dict[str, Any] | None = config.valid_where if held_out else config.where
    parts = [LatentDataset(folder, where=where or None) for folder in sources_of(source)]
    for part in parts:
        if not len(part):
            kept = f" with {', '.join(f'{k} = {v!r}' for k, v in where.items())}" if where else ""
            raise TrainingError(f"nothing to train on: dataset {part.path} has no items{kept}")
    if len(parts) == 1:
        return parts[0]
    weights = config.source_weights if source == config.source else ()
    return MixedDataset(parts, weights or None)


def verify_latents(config: LatentDataConfig) -> None:
    """Reads every dataset that `config` names and checks it; see `verify_dataset`.

    Raises:
        DatasetError: a dataset has problems; the first one is named.
    """
    held_out = () if config.valid_source is None else sources_of(config.valid_source)
    for folder in dict.fromkeys((*sources_of(config.source), *held_out)):
        if problems := verify_dataset(folder):
            more = f" (and {len(problems) - 1} more: latentune info --verify {folder})" if len(problems) > 1 else ""
            raise DatasetError(f"data.verify: {problems[0]}{more}")
