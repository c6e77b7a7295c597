"""The values that the conditions of an example have: one of several captions, or its stored embeddings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ...generators.conditioning import ConditionEncoder, Conditioner
from ...generators.conditioning.base import as_text
from ...generators.conditions import is_given
from ..data.shards import LatentDataset, MixedDataset
from ..data.shards.embeddings import AUDIO, EmbeddingStore, open_store

Draw = Callable[[str, np.ndarray], np.ndarray]


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
    """Reads the values of the conditions of items.

    Args:
        dataset: of the items.
        columns: condition -> metadata column.
        encoder: the conditions of the generator; None leaves the values as they are in the columns.
    """

    def __init__(self, dataset: LatentDataset, columns: Mapping[str, str], encoder: ConditionEncoder | None):
        self.dataset, self.columns = dataset, columns
        self.conditioners = {} if encoder is None else encoder.conditioners
        found = {
            name: stored_embeddings(dataset, column, self.conditioners[name])
            for name, column in columns.items()
            if name in self.conditioners
        }
        self.stores = {name: store for name, store in found.items() if store is not None}

    def of(self, rows: np.ndarray, draw: Draw) -> dict[str, list[Any]]:
        """Returns the values of each condition; of several captions, each is drawn equally often.

        Args:
            rows: [B] places of the items in the columns of the dataset.
            draw: gives an integer [B] below numbers [B], which depends on the items and a name.
        """
        return {name: self._values(name, column, rows, draw) for name, column in self.columns.items()}

    def _values(self, name: str, column: str, rows: np.ndarray, draw: Draw) -> list[Any]:
        conditioner, store = self.conditioners.get(name), self.stores.get(name)
        if store is not None and conditioner is not None and hears(column, conditioner):
            return [store.find(item) for item in self.dataset.columns.facts("id", rows)]
        values = self.dataset.columns.values(column, rows)
        if conditioner is not None and conditioner.draws_one:
            values = _draw_one(values, name, draw)
        if store is None:
            return values
        found = [store.find(as_text(value)) if is_given(value) else None for value in values]
        # a text that is not stored is encoded now
        return [value if stored is None else stored for value, stored in zip(values, found, strict=True)]


def _draw_one(values: list[Any], name: str, draw: Draw) -> list[Any]:
    """Returns one of the alternatives of each value that is a list of them."""
    lists = [[one for one in value if is_given(one)] if isinstance(value, list) else None for value in values]
    if all(some is None for some in lists):
        return values
    drawn = draw(name, np.array([max(1, len(some or ())) for some in lists]))
    return [
        value if some is None else some[place] if some else None
        for value, some, place in zip(values, lists, drawn.tolist(), strict=True)
    ]
