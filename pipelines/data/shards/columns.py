"""The items of a dataset column by column: one row per item, as `index.parquet` holds them.

The columns are facts about the items (id, shard, row, lengths, path and so on), and their metadata. A value of the
metadata is the same here and in the shard, but for whole numbers, which become floats in a column that has others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.errors import DatasetError
from ....core.files import atomic_path, file_sha256
from ..audio.find import matches
from .shard import ITEM_COLUMNS, ShardFile

if TYPE_CHECKING:
    import pyarrow

INDEX_FILE = "index.parquet"
REBUILD = "delete it and run encode again to rebuild it"
FIELD_KEY = b"latentune"  # of a parquet field of metadata: JSON of its name there, and whether the values are JSON text


@dataclass(frozen=True)
class Column:
    """The values of a column, or of a part of one."""

    array: Any  # pyarrow.Array
    is_json: bool = False  # values of several types, or of types that parquet has no column for, as JSON text

    @classmethod
    def of(cls, values: Sequence[Any]) -> Column:
        """Returns values as a column of one type where they have one."""
        import pyarrow

        kinds = {type(value) for value in values} - {type(None)}
        if _is_plain(kinds) or (kinds == {list} and _is_plain({type(one) for some in values for one in some or ()})):
            try:
                return cls(pyarrow.array(values))
            except (pyarrow.ArrowException, OverflowError):
                pass  # integers beyond 64 bits, or beyond what a float holds exactly
        return cls(_json_texts(values), is_json=True)

    def values(self) -> list[Any]:
        """Returns the values as they were given."""
        found: list[Any] = self.array.to_pylist()
        return [None if text is None else json.loads(text) for text in found] if self.is_json else found


def _is_plain(kinds: set[type]) -> bool:
    kinds = kinds - {type(None)}
    return kinds <= {int, float} or kinds in ({str}, {bool})


def _json_texts(values: Iterable[Any]) -> pyarrow.Array:
    import pyarrow

    texts = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
    return pyarrow.array(texts, pyarrow.string())


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
    texts = [column.array if column.is_json else _json_texts(column.values()) for column in filled]
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


class ItemColumns:
    """The columns of all items of a dataset, each read when it is first used. Can be sent to worker processes.

    Args:
        source: `index.parquet`, or its contents.
    """

    def __init__(self, source: Path | pyarrow.Table):
        import pyarrow.parquet

        self._source = source
        if isinstance(source, Path):
            facts = pyarrow.parquet.read_metadata(source)
            schema, self._num_items = facts.schema.to_arrow_schema(), int(facts.num_rows)
        else:
            schema, self._num_items = source.schema, int(source.num_rows)
        self.names = frozenset(schema.names)
        self.metadata: dict[str, str] = {}  # name in the metadata of the items -> name of the column
        self._is_json: set[str] = set()
        for field in schema:
            about = (field.metadata or {}).get(FIELD_KEY)
            if about is None:
                continue
            described = json.loads(about)
            self.metadata[described["name"]] = field.name
            if described["json"]:
                self._is_json.add(field.name)
        self._loaded: dict[str, Any] = {}

    @classmethod
    def of_file(cls, path: Path, sha256: str | None, num_items: int) -> ItemColumns:
        """Opens `index.parquet`.

        Args:
            path: of the file.
            sha256: that it was recorded with; None if that is not known.
            num_items: that it must have.

        Returns:
            Its columns.

        Raises:
            DatasetError: it is missing, corrupt, or not the one that was recorded.
        """
        import pyarrow

        try:
            if sha256 is not None and file_sha256(path) != sha256:
                raise DatasetError(f"{path} does not have the recorded hash: {REBUILD}")
            columns = cls(path)
        except (OSError, pyarrow.ArrowException) as error:
            reason = " ".join(str(error).split())[:120]
            raise DatasetError(f"{path} is missing or corrupt ({reason}): {REBUILD}") from error
        if len(columns) != num_items:
            raise DatasetError(f"{path} has {len(columns)} rows, the shards have {num_items} items: {REBUILD}")
        return columns

    @classmethod
    def of_shards(cls, shards: Iterable[ShardFile]) -> ItemColumns:
        """Reads the columns from the items themselves, for a dataset without an index."""
        return cls(make_index([ShardColumns.of(shard) for shard in shards]))

    def __len__(self) -> int:
        return self._num_items

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": {}}

    def numbers(self, fact: str) -> np.ndarray:
        """Returns a fact about all items [N], such as `num_latents`; a number that is not known is NaN."""
        numbers: np.ndarray = self._column(fact).to_numpy(zero_copy_only=False)
        return numbers

    def facts(self, fact: str, rows: np.ndarray | None = None) -> list[Any]:
        """Returns a fact about some items or all, such as `id`; of one that the dataset lacks, nothing but None.

        Args:
            fact: name of the column.
            rows: numbers of the items.
        """
        if fact not in self.names:
            return [None] * (len(self) if rows is None else len(rows))
        return self._values(fact, rows)

    def values(self, name: str, rows: np.ndarray | None = None) -> list[Any]:
        """Returns the values of a metadata column of some items or all; nothing but None if no item has it.

        Args:
            name: of the column in the metadata.
            rows: numbers of the items.
        """
        if name not in self.metadata:
            return [None] * (len(self) if rows is None else len(rows))
        return self._values(self.metadata[name], rows)

    def distinct(self, name: str, rows: np.ndarray | None = None) -> list[Any]:
        """Returns the different values of a metadata column of some items or all.

        Args:
            name: of the column in the metadata.
            rows: numbers of the items.
        """
        return self._encoded(name, rows)[0]

    def where(self, wanted: Mapping[str, Any]) -> np.ndarray:
        """Returns the numbers of the items whose metadata has these values; a list allows any of its values."""
        keep = np.ones(len(self), bool)
        for name, value in wanted.items():
            distinct, codes = self._encoded(name, None)
            allowed = np.array([matches({name: one}, {name: value}) for one in distinct], bool)
            keep &= allowed[codes]
        return np.flatnonzero(keep)

    def _encoded(self, name: str, rows: np.ndarray | None) -> tuple[list[Any], np.ndarray]:
        """Returns the different values of a metadata column, None among them if there is one, and their numbers."""
        import pyarrow

        if name not in self.metadata:
            return [None], np.zeros(len(self) if rows is None else len(rows), np.int64)
        called = self.metadata[name]
        column = self._column(called) if rows is None else self._column(called).take(pyarrow.array(rows))
        if pyarrow.types.is_nested(column.type):
            column = _json_texts(column.to_pylist())
            is_json = True
        else:
            is_json = called in self._is_json
        encoded = column.dictionary_encode(null_encoding="encode")
        codes: np.ndarray = encoded.indices.to_numpy(zero_copy_only=False)
        return Column(encoded.dictionary, is_json).values(), codes

    def _values(self, name: str, rows: np.ndarray | None) -> list[Any]:
        import pyarrow

        column = self._column(name)
        taken = column if rows is None else column.take(pyarrow.array(rows))
        return Column(taken, name in self._is_json).values()

    def _column(self, name: str) -> Any:
        if name not in self._loaded:
            import pyarrow.parquet

            source = self._source
            table = source if not isinstance(source, Path) else pyarrow.parquet.read_table(source, columns=[name])
            column = table[name]
            if pyarrow.types.is_string(column.type):
                column = column.cast(pyarrow.large_string())  # the others end at 2 GiB
            self._loaded[name] = column.combine_chunks()
        return self._loaded[name]
