"""Items of a shard that a later plan of the dataset keeps: they are copied and not encoded again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .plan import PlannedItem
from .shard import ITEM_COLUMNS, EncodedItem, ShardFile


def reusable_items(shard: ShardFile, items: Iterable[PlannedItem]) -> dict[str, EncodedItem]:
    """Returns the planned items that a shard holds, by their new ids and with their new metadata.

    A plan keeps an item in its shard only while its file is the same, so that path and place in the file identify it.

    Args:
        shard: made by an earlier plan.
        items: that are planned for this shard now.
    """
    rows = {_place(meta): (row, meta) for row in range(shard.num_items) for meta in [shard.meta(row)]}
    found = {}
    for item in items:
        place = (item.path, item.start_s, item.duration_s)
        if place not in rows:
            continue
        row, meta = rows[place]
        found[item.id] = EncodedItem(
            item=item,
            latents=_stored(shard, "latents", row),
            tokens=_stored(shard, "tokens", row),
            num_samples=meta["num_samples"],
            facts={name: value for name, value in meta.items() if name not in ITEM_COLUMNS},
        )
    return found


def _place(meta: dict[str, Any]) -> tuple[str, float, float]:
    return meta["path"], meta["start_s"], meta["planned_s"]


def _stored(shard: ShardFile, stream: str, row: int) -> Tensor | None:
    """Returns a stream of an item as it is stored: latents in their own number format, tokens as int64."""
    if not shard.has(stream):
        return None
    offsets = shard.array("latent_offsets" if stream == "latents" else "token_offsets")
    part = shard.array(stream)[offsets[row] : offsets[row + 1]]
    return torch.from_numpy(part.copy() if stream == "latents" else part.astype("int64"))
