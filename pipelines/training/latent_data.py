"""Random crops of a shard dataset, which depend only on (seed, epoch, item)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...core.errors import DatasetError, TrainingError
from ...core.random import keyed_integers
from ...generators.base import LatentBatch
from ...generators.conditioning import ConditionEncoder
from ...generators.conditions import SECONDS, Conditions
from ...tokenizers.spec import STREAMS
from ..data.shards import LatentDataset, MixedDataset, MixtureSampler, ResumableSampler
from ..data.shards.gather import gather, num_chunks_of
from ..data.shards.verify import verify_dataset
from .conditions import condition_columns
from .data_config import LatentDataConfig, sources_of
from .references import References
from .values import ConditionValues

logger = logging.getLogger(__name__)


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
        self.crop_chunks = dataset.spec.nearest_chunks(config.crop_s)
        self.columns = condition_columns(config.conditions, encoder)
        hearing = [] if encoder is None else [n for n, part in encoder.conditioners.items() if part.takes_latents]
        columns = {name: column for name, column in self.columns.items() if name not in hearing}
        self.values = {part: ConditionValues(part, columns, encoder) for part in dataset.parts}
        self.references = {
            part: [
                References(part, name, self.columns[name], encoder.conditioners[name]) for name in hearing if encoder
            ]
            for part in dataset.parts
        }

    @property
    def num_items(self) -> int:
        return len(self.dataset)

    def keys(self, first: int, count: int) -> np.ndarray:
        """Returns the epoch and the index [count, 2] of examples, starting from the `first`-th."""
        return self.sampler.draws(first, count)

    def batch(self, keys: np.ndarray) -> LatentBatch:
        """Returns crops of the items of (epoch, index) [B, 2], their conditions as tensors: a network sees no text.

        A start is drawn for each item, all being equally likely; a shorter item is padded with silence and masked. An
        example depends on its own key alone.
        """
        found = [
            (positions, self._part(dataset, indices, keys[positions]))
            for dataset, positions, indices in self.dataset.split(keys[:, 1])
        ]
        batch = found[0][1] if len(found) == 1 else _merged(found)
        if self.encoder is None or not isinstance(batch.conditions, Conditions):
            return batch
        return replace(batch, conditions=self.encoder.prepare(batch.conditions))

    def _part(self, dataset: LatentDataset, indices: np.ndarray, keys: np.ndarray) -> LatentBatch:
        """Returns the crops of items of one dataset, by their indices there."""

        def draw(name: str, highs: np.ndarray) -> np.ndarray:
            drawn = np.empty(len(keys), np.int64)
            for epoch in np.unique(keys[:, 0]).tolist():
                mine = keys[:, 0] == epoch
                drawn[mine] = keyed_integers(keys[mine, 1], highs[mine], self.seed, epoch, name)
            return drawn

        rows, spec, columns = dataset.places(indices)[0], dataset.spec, dataset.columns
        first = draw("crop", np.maximum(1, num_chunks_of(dataset, rows) - self.crop_chunks + 1))
        streams: dict[str, tuple[Tensor | None, Tensor | None]] = {stream: (None, None) for stream in STREAMS}
        for stream in dataset.streams:
            streams[stream] = gather(dataset, stream, indices, first, self.crop_chunks)
        starts_s = columns.numbers("start_s")[rows] + first * spec.chunk_samples / spec.sample_rate
        seconds = zip(starts_s.tolist(), columns.numbers("total_s")[rows].tolist(), strict=True)
        values = self.values[dataset].of(rows, draw)
        values |= {part.name: part.of(indices, draw) for part in self.references[dataset]}
        return LatentBatch(
            latents=streams["latents"][0],
            latent_mask=streams["latents"][1],
            tokens=streams["tokens"][0],
            token_mask=streams["tokens"][1],
            conditions=Conditions(values={**values, SECONDS: list(seconds)}),
            ids=columns.facts("id", rows),
        )


def _merged(parts: Sequence[tuple[np.ndarray, LatentBatch]]) -> LatentBatch:
    """Returns batches as one, with each example at its position in the whole."""
    order = np.argsort(np.concatenate([positions for positions, _ in parts]))
    batches = [batch for _, batch in parts]

    def whole(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return torch.cat(present)[torch.from_numpy(order)] if present else None

    conditions = batches[0].conditions
    assert isinstance(conditions, Conditions)
    for batch in batches[1:]:
        assert isinstance(batch.conditions, Conditions)
        conditions = conditions.followed_by(batch.conditions)
    ids = [name for batch in batches for name in batch.ids]
    return LatentBatch(
        latents=whole([batch.latents for batch in batches]),
        latent_mask=whole([batch.latent_mask for batch in batches]),
        tokens=whole([batch.tokens for batch in batches]),
        token_mask=whole([batch.token_mask for batch in batches]),
        conditions=conditions.rows(order.tolist()),
        ids=[ids[place] for place in order.tolist()],
    )


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
    if not held_out:
        _warn_of_padding(parts, config.crop_s)
    if len(parts) == 1:
        return parts[0]
    weights = config.source_weights if source == config.source else ()
    return MixedDataset(parts, weights or None)


def _warn_of_padding(parts: Sequence[LatentDataset], crop_s: float) -> None:
    """Logs a warning where more than half of every example is going to be padding."""
    longest_s = max(
        float(part.columns.numbers("num_samples")[part.rows].max()) / part.spec.sample_rate for part in parts
    )
    if crop_s > 2 * longest_s:
        logger.warning(
            "data.crop_s is %g s, and the longest item has %.3g s: the rest of each example is padding",
            crop_s,
            longest_s,
        )


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
