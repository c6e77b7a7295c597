"""The plan: which part of which file goes to which shard. It depends only on the source and the settings.

It is two tables: `plan.parquet` of the items in the order of the shards, and `sources.parquet` of the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.errors import DatasetError
from ....core.files import atomic_path
from ....tokenizers.spec import TokenizerSpec

if TYPE_CHECKING:
    import pyarrow

ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
ROW_GROUP = 16384  # items that are read at once, or those of one shard
DIGESTS = b"shard_digests"  # of the items of each shard, in the metadata of the table of items
SOURCE_DIGEST = b"source_digest"  # in the metadata of the table of files
ITEM_TYPES = {
    "shard": "int32",
    "id": "large_string",  # those of 32 bits end at 2 GiB
    "path": "large_string",
    "start_s": "float64",
    "duration_s": "float64",
    "total_s": "float64",
    "sample_rate": "int32",
    "metadata": "large_string",  # JSON
    "file": "int64",
    "part": "int32",
}
DIGESTED = ["id", "path", "start_s", "duration_s", "total_s", "sample_rate", "metadata"]  # what a shard depends on
FILE_TYPES = {
    "path": "large_string",
    "start_s": "float64",
    "duration_s": "float64",
    "size": "int64",
    "mtime_ns": "int64",
    "failed_id": "large_string",  # with the reason, of a file that is left out
    "reason": "large_string",
}


@dataclass(frozen=True, kw_only=True)
class PlannedItem:
    """One item to encode: a file, or a part of a long one."""

    shard: int
    id: str  # unique in the dataset
    path: str  # relative to the source
    start_s: float  # in the file
    duration_s: float
    total_s: float  # of the whole file
    sample_rate: int  # Hz, of the file
    metadata: dict[str, Any] = field(default_factory=dict)
    file: int = 0  # number of its file or segment in the source
    part: int = 0  # number of the part of a long one


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item or file that was left out, and the reason."""

    id: str
    path: str  # relative to the source
    reason: str


class Plan:
    """All items in order, shard after shard, and all files, with the reasons of those that are known to fail.

    Args:
        items: a table of `ITEM_TYPES`, or its file, of which only what is asked for is read.
        files: a table of `FILE_TYPES`, or its file.
    """

    def __init__(self, items: pyarrow.Table | Path, files: pyarrow.Table | Path):
        import pyarrow.parquet

        self._items: Any = pyarrow.parquet.ParquetFile(items) if isinstance(items, Path) else items
        self._files = files
        shards = self._column("shard")
        self._starts = np.flatnonzero(np.diff(shards, prepend=-1))  # of the shards, in the rows of the items
        self._numbers = shards[self._starts]
        self._read: tuple[tuple[int, int], Any] = ((0, 0), None)  # row groups, and their table

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return False
        tables = ((self.items, other.items), (self.files, other.files))
        return all(mine.equals(theirs, check_metadata=True) for mine, theirs in tables)

    __hash__ = None  # type: ignore[assignment]

    @property
    def items(self) -> pyarrow.Table:
        """The table of all items."""
        return self._items.read() if self._is_file else self._items

    @cached_property
    def files(self) -> pyarrow.Table:
        """The table of all files or segments of the source as they were when the plan was made."""
        import pyarrow.parquet

        return pyarrow.parquet.read_table(self._files) if isinstance(self._files, Path) else self._files

    @property
    def num_items(self) -> int:
        return int(self._items.metadata.num_rows if self._is_file else self._items.num_rows)

    @property
    def num_shards(self) -> int:
        return len(self._numbers)

    @property
    def shard_numbers(self) -> list[int]:
        """The numbers of the shards, in order; some are missing where all items of a shard are gone."""
        numbers: list[int] = self._numbers.tolist()
        return numbers

    @property
    def duration_s(self) -> float:
        return float(self._column("duration_s").sum())

    @cached_property
    def failures(self) -> tuple[Failure, ...]:
        """The files that are left out."""
        left_out = self.files.filter(_is_valid(self.files["reason"])).to_pydict()
        rows = zip(left_out["failed_id"], left_out["path"], left_out["reason"], strict=True)
        return tuple(Failure(id=name, path=path, reason=reason) for name, path, reason in rows)

    @property
    def source_digest(self) -> str:
        """A hash of names, states and metadata of the files; see `SourceDigest`."""
        return str(self.files.schema.metadata[SOURCE_DIGEST].decode())

    @cached_property
    def _digests(self) -> dict[str, str]:
        schema = self._items.schema_arrow if self._is_file else self._items.schema
        digests: dict[str, str] = json.loads(schema.metadata[DIGESTS])
        return digests

    def digest_of(self, number: int) -> str:
        """Returns a hash of the items of shard `number`."""
        return self._digests[str(number)]

    def items_of(self, number: int) -> list[PlannedItem]:
        """Returns the items of shard `number`."""
        place = int(np.searchsorted(self._numbers, number))
        if place == len(self._numbers) or self._numbers[place] != number:
            raise KeyError(f"the plan has no shard {number}")
        ends = np.append(self._starts[1:], self.num_items)
        return planned_items(self._rows(int(self._starts[place]), int(ends[place])))

    def shards(self) -> Iterator[tuple[int, list[PlannedItem]]]:
        """Yields number and items of each shard."""
        return ((number, self.items_of(number)) for number in self.shard_numbers)

    def write(self, items: Path, files: Path) -> None:
        """Writes both tables, each atomically. The same plan gives the same bytes."""
        import pyarrow.parquet

        with atomic_path(files) as part:
            pyarrow.parquet.write_table(self.files, part, compression="zstd")
        with (
            atomic_path(items) as part,
            pyarrow.parquet.ParquetWriter(part, self.items.schema, compression="zstd") as out,
        ):
            for begin, end in _row_groups(self._starts, self.num_items):
                out.write_table(self.items.slice(begin, end - begin), row_group_size=end - begin)

    @classmethod
    def read(cls, items: Path, files: Path) -> Plan:
        """Opens the files of a plan; raises DatasetError if they are missing or broken."""
        import pyarrow

        try:
            plan = cls(items, files)
            known = set(plan._items.schema_arrow.names) == set(ITEM_TYPES)
            known = known and set(pyarrow.parquet.read_schema(files).names) == set(FILE_TYPES)
        except (OSError, KeyError, pyarrow.ArrowException) as error:
            raise DatasetError(f"{items} cannot be read ({error}): delete the folder and encode again") from error
        if not known:
            raise DatasetError(f"{items} is not a plan: delete the folder and encode again")
        return plan

    @property
    def _is_file(self) -> bool:
        import pyarrow

        return not isinstance(self._items, pyarrow.Table)

    def _column(self, name: str) -> np.ndarray:
        table = self._items.read(columns=[name]) if self._is_file else self._items
        column: np.ndarray = table[name].to_numpy()
        return column

    def _rows(self, begin: int, end: int) -> pyarrow.Table:
        if not self._is_file:
            return self._items.slice(begin, end - begin)
        facts = self._items.metadata
        cuts = np.cumsum([0, *(facts.row_group(number).num_rows for number in range(facts.num_row_groups))])
        groups = int(np.searchsorted(cuts, begin, side="right")) - 1, int(np.searchsorted(cuts, end))
        if self._read[0] != groups:
            self._read = groups, self._items.read_row_groups(list(range(*groups)))
        return self._read[1].slice(begin - int(cuts[groups[0]]), end - begin)


def planned_items(table: pyarrow.Table) -> list[PlannedItem]:
    """Returns the rows of a table of items."""
    columns = table.to_pydict()
    columns["metadata"] = [json.loads(text) for text in columns["metadata"]]
    names = list(columns)
    return [PlannedItem(**dict(zip(names, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def make_table(
    types: Mapping[str, str], columns: Mapping[str, Any], metadata: Mapping[bytes, bytes] | None = None
) -> pyarrow.Table:
    """Returns columns as a table.

    Args:
        types: name of each column -> its type.
        columns: name -> values.
        metadata: of the table.
    """
    import pyarrow

    schema = pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in types.items()])
    # NaN, where a segment has no end, becomes null
    arrays = [pyarrow.array(columns[name], schema.field(name).type, from_pandas=True) for name in types]
    return pyarrow.table(arrays, schema=schema.with_metadata(dict(metadata or {})))


def digest_shards(shards: np.ndarray, table: pyarrow.Table) -> dict[bytes, bytes]:
    """Returns metadata of a table of items: a hash of the items of each shard.

    Args:
        shards: [items] numbers of the shards, in order.
        table: of the items.
    """
    cuts = [*np.flatnonzero(np.diff(shards, prepend=-1)).tolist(), len(shards)]
    columns = table.select(DIGESTED)
    digests = {
        str(shards[begin]): _digest(columns.slice(begin, end - begin).to_pydict()) for begin, end in pairwise(cuts)
    }
    return {DIGESTS: json.dumps(digests).encode()}


def _digest(columns: dict[str, list[Any]]) -> str:
    return hashlib.sha256(json.dumps([columns[name] for name in DIGESTED]).encode()).hexdigest()


def json_text(facts: Mapping[str, Any]) -> str:
    """Returns the facts about an item as JSON, in their order."""
    return ENCODER.encode(facts)


def shard_content(digest: str, job: str) -> str:
    """Returns a hex SHA-256 of everything that determines a shard, which its header holds.

    Args:
        digest: of its items, from `Plan.digest_of`.
        job: hash of the settings and the tokenizer.
    """
    return hashlib.sha256(f"{job} {digest}".encode()).hexdigest()


def token_bytes(spec: TokenizerSpec) -> int:
    """Returns the bytes of the smallest unsigned integer that holds every token; 1 if there are no tokens."""
    largest = max(spec.codebook_sizes, default=1) - 1
    return next(size for size in (1, 2, 4, 8) if largest < 256**size)


def _row_groups(starts: np.ndarray, num_items: int) -> Iterator[tuple[int, int]]:
    """Yields first and last + 1 of the items of each row group: whole shards, together `ROW_GROUP` items or more."""
    begin = 0
    for end in [*starts[1:].tolist(), num_items]:
        if end - begin >= ROW_GROUP or (end == num_items and end > begin):
            yield begin, end
            begin = end


def _is_valid(column: Any) -> Any:
    import pyarrow.compute

    return pyarrow.compute.is_valid(column)
