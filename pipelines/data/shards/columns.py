"""The items of a dataset column by column, out of the table of its index."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.errors import DatasetError
from ....core.files import file_sha256
from ..audio.find import matches
from .column import Column, json_texts
from .index_table import FIELD_KEY, REBUILD, ShardColumns, make_index
from .shard import ShardFile

if TYPE_CHECKING:
    import pyarrow


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
            column = json_texts(column.to_pylist())
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
