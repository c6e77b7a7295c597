"""The values that the conditions of an example have: one of several captions, or its stored embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...generators.conditioning import ConditionEncoder, Conditioner
from ...generators.conditioning.base import as_text
from ...generators.conditions import is_given
from ..data.shards import LatentDataset, LatentItem, MixedDataset
from ..data.shards.embeddings import AUDIO, EmbeddingStore, open_store


def stored_embeddings(
    dataset: LatentDataset | MixedDataset, column: str, conditioner: Conditioner
) -> EmbeddingStore | None:
    """Returns the embeddings of a column that a dataset stores for a conditioner.

    Args:
        dataset: to look in; of several datasets, all must store them.
        column: of the metadata, or `audio`.
        conditioner: whose encoder the embeddings are to be of.

    Returns:
        The store, or None where there is none or the conditioner has no encoder.
    """
    source = conditioner.frozen
    if source is None:
        return None
    stores = [open_store(part.path, column, str(source)) for part in dataset.parts]
    return stores[0] if all(store is not None for store in stores) else None


def hears(column: str, conditioner: Conditioner) -> bool:
    """Returns whether a conditioner is to be given the sound of the items in place of a column."""
    return column == AUDIO and conditioner.takes_audio


class ConditionValues:
    """Reads the values of an item's conditions.

    Args:
        dataset: of the items.
        columns: condition -> metadata column.
        encoder: the conditions of the generator; None leaves the values as they are in the columns.
    """

    def __init__(self, dataset: LatentDataset, columns: Mapping[str, str], encoder: ConditionEncoder | None):
        self.columns = columns
        self.conditioners = {} if encoder is None else encoder.conditioners
        found = {
            name: stored_embeddings(dataset, column, self.conditioners[name])
            for name, column in columns.items()
            if name in self.conditioners
        }
        self.stores = {name: store for name, store in found.items() if store is not None}

    def of(self, item: LatentItem, generator: torch.Generator) -> dict[str, Any]:
        """Returns the value of each condition; of several captions, each is drawn equally often."""
        return {name: self._value(name, column, item, generator) for name, column in self.columns.items()}

    def _value(self, name: str, column: str, item: LatentItem, generator: torch.Generator) -> Any:
        conditioner, store = self.conditioners.get(name), self.stores.get(name)
        if store is not None and conditioner is not None and hears(column, conditioner):
            return store.find(item.id)
        value = item.metadata.get(column)
        if conditioner is not None and conditioner.draws_one and isinstance(value, list):
            alternatives = [one for one in value if is_given(one)]
            several = len(alternatives) > 1
            drawn = int(torch.randint(len(alternatives), (), generator=generator)) if several else 0
            value = alternatives[drawn] if alternatives else None
        if store is None or not is_given(value):
            return value
        stored = store.find(as_text(value))
        return value if stored is None else stored  # a text that is not stored is encoded now
