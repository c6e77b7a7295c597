"""The table of all items, as `index.parquet` holds it, made from the shards.

The columns are facts about the items (id, shard, row, lengths, path and so on), and their metadata. A value of the
metadata is the same here and in the shard, but for whole numbers, which become floats in a column that has others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.files import atomic_path
from .column import Column, json_texts
from .shard import ITEM_COLUMNS, ShardFile

if TYPE_CHECKING:
    import pyarrow

INDEX_FILE = "index.parquet"
REBUILD = "delete it and run encode again to rebuild it"
FIELD_KEY = b"latentune"  # of a parquet field of metadata: JSON of its name there, and whether the values are JSON text


@dataclass(frozen=True)
class ShardColumns:
    """The columns of the items of a shard."""

    num_items: int
    facts: dict[str, Column]
    metadata: dict[str, Column]

    @classmethod
    def of(cls, shard: ShardFile) -> ShardColumns:
        """Reads them from a shard; raises DatasetError if it is corrupt."""
        metas = shard.metas()
        metadata = [meta.pop("metadata") for meta in metas]
        places = {
            "id": Column.of([meta.pop("id") for meta in metas]),
            "shard": Column.of([shard.header["shard"]] * len(metas)),
            "row": Column.of(list(range(len(metas)))),
            "num_latents": Column.of(shard.lengths("latents").tolist()),
            "num_tokens": Column.of(shard.lengths("tokens").tolist()),
        }
        always = [name for name in ITEM_COLUMNS if name not in ("id", "metadata")]
        return cls(len(metas), {**places, **_columns(metas, always)}, _columns(metadata))


def _columns(rows: Sequence[Mapping[str, Any]], always: Sequence[str] = ()) -> dict[str, Column]:
    names = dict.fromkeys([*always, *(name for row in rows for name in row)])
    return {name: Column.of([row.get(name) for row in rows]) for name in names}


def make_index(parts: Sequence[ShardColumns]) -> pyarrow.Table:
    """Returns the columns of all items, those of the shards one after another."""
    import pyarrow

    facts = dict.fromkeys([*(name for part in parts for name in part.facts), "loudness_lufs"])
    metadata = dict.fromkeys(name for part in parts for name in part.metadata)
    fields, arrays, used = [], [], {*facts, *metadata}
    for name in facts:
        column = _joined([part.facts.get(name) for part in parts], parts)
        fields.append(pyarrow.field(name, column.array.type))
        arrays.append(column.array)
    for name in metadata:
        called = name
        while called in facts or (called != name and called in used):
            called = f"metadata_{called}"
        used.add(called)
        column = _joined([part.metadata.get(name) for part in parts], parts)
        about = json.dumps({"name": name, "json": column.is_json}, ensure_ascii=False)
        fields.append(pyarrow.field(called, column.array.type, metadata={FIELD_KEY: about.encode()}))
        arrays.append(column.array)
    return pyarrow.table(arrays, schema=pyarrow.schema(fields))


def _joined(columns: Sequence[Column | None], parts: Sequence[ShardColumns]) -> Column:
    """Returns the columns of the shards as one; as JSON where they have no type in common."""
    import pyarrow

    filled = [
        Column(pyarrow.nulls(part.num_items)) if column is None else column
        for column, part in zip(columns, parts, strict=True)
    ]
    present = [column for column in filled if column.array.null_count < len(column.array)]
    if len({column.is_json for column in present}) < 2:
        try:
            tables = [pyarrow.table({"": column.array}) for column in present] or [
                pyarrow.table({"": pyarrow.nulls(0)})
            ]
            common = pyarrow.concat_tables(tables, promote_options="permissive").schema.types[0]
            arrays = [column.array.cast(common) for column in filled]
            return Column(pyarrow.chunked_array(arrays, common), bool(present) and present[0].is_json)
        except pyarrow.ArrowException:
            pass  # a text in one shard and a number in another, or a whole number that no float holds exactly
    texts = [column.array if column.is_json else json_texts(column.values()) for column in filled]
    return Column(pyarrow.chunked_array(texts, pyarrow.string()), is_json=True)


def index_totals(table: pyarrow.Table, sample_rate: int) -> dict[str, float]:
    """Returns the numbers of items and frames and the length in seconds of all items.

    Args:
        table: from `make_index`.
        sample_rate: of the codec, in Hz.
    """
    import pyarrow.compute

    samples, latents, tokens = (
        pyarrow.compute.sum(table[name]).as_py() or 0  # None if there are no items
        for name in ("num_samples", "num_latents", "num_tokens")
    )
    seconds = samples / sample_rate
    return {"num_items": table.num_rows, "duration_s": seconds, "num_latents": latents, "num_tokens": tokens}


def write_index(path: Path, table: pyarrow.Table) -> None:
    """Writes the columns of all items as parquet, atomically."""
    import pyarrow.parquet

    with atomic_path(path) as part:
        pyarrow.parquet.write_table(table, part, compression="zstd")
