"""The plan: which part of which file goes to which shard. It depends only on the source and the settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Self

from ....core.errors import DatasetError
from ....core.files import write_text
from ....tokenizers.base import TokenizerSpec
from ..audio.item import AudioItem
from .ids import printable


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
class FileState:
    """A file or segment of the source as it was when the plan was made; it shows what changed since."""

    path: str  # relative to the source
    start_s: float  # of the segment
    duration_s: float | None
    size: int  # bytes; -1 if there is no such file
    mtime_ns: int

    @classmethod
    def of(cls, item: AudioItem) -> Self:
        """Returns the state of an item's file now."""
        try:
            facts = item.path.stat()
            size, mtime_ns = facts.st_size, facts.st_mtime_ns
        except (OSError, ValueError):  # ValueError: a name with NUL
            size, mtime_ns = -1, 0
        return cls(
            path=printable(item.name), start_s=item.start_s, duration_s=item.duration_s, size=size, mtime_ns=mtime_ns
        )


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item or file that was left out, and the reason."""

    id: str
    path: str  # relative to the source
    reason: str


@dataclass(frozen=True)
class Plan:
    """All items in order, shard after shard, the files that are known to fail, and the state of all files."""

    items: tuple[PlannedItem, ...]
    failures: tuple[Failure, ...]
    files: tuple[FileState, ...] = ()

    @property
    def shard_numbers(self) -> list[int]:
        """The numbers of the shards, in order; some are missing where all items of a shard are gone."""
        return [number for number, _ in groupby(self.items, key=lambda item: item.shard)]

    @property
    def num_items(self) -> int:
        return len(self.items)

    @property
    def num_shards(self) -> int:
        return len(self.shard_numbers)

    @property
    def duration_s(self) -> float:
        return sum(item.duration_s for item in self.items)

    def shards(self) -> Iterator[tuple[int, list[PlannedItem]]]:
        """Yields number and items of each shard."""
        for number, items in groupby(self.items, key=lambda item: item.shard):
            yield number, list(items)

    def items_of(self, number: int) -> list[PlannedItem]:
        """Returns the items of shard `number`."""
        return [item for item in self.items if item.shard == number]

    def to_text(self) -> str:
        """Returns the lines of `plan.jsonl`."""
        rows: list[PlannedItem | Failure | FileState] = [*self.items, *self.failures, *self.files]
        return "".join(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)

    def write(self, path: Path) -> None:
        """Writes `plan.jsonl`, atomically."""
        write_text(path, self.to_text())

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Reads `plan.jsonl`; raises DatasetError if it is missing or broken."""
        try:
            rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
            items = tuple(PlannedItem(**row) for row in rows if "shard" in row)
            files = tuple(FileState(**row) for row in rows if "mtime_ns" in row)
            failures = tuple(Failure(**row) for row in rows if "shard" not in row and "mtime_ns" not in row)
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}): delete the folder and encode again") from error
        return cls(items, failures, files)


def source_digest(items: Iterable[AudioItem]) -> str:
    """Returns a hex SHA-256 of names, states and metadata, which changes when files are added, removed or rewritten."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps([asdict(FileState.of(item)), item.metadata], sort_keys=True).encode())
    return digest.hexdigest()


def shard_content(items: Iterable[PlannedItem], job: str) -> str:
    """Returns a hex SHA-256 of everything that determines a shard, which its header holds.

    Args:
        items: of the shard.
        job: hash of the settings and the tokenizer.
    """
    rows = [
        [item.id, item.path, item.start_s, item.duration_s, item.total_s, item.sample_rate, item.metadata]
        for item in items
    ]
    return hashlib.sha256((job + json.dumps(rows, sort_keys=True)).encode()).hexdigest()


def token_bytes(spec: TokenizerSpec) -> int:
    """Returns the bytes of the smallest unsigned integer that holds every token; 1 if there are no tokens."""
    largest = max(spec.codebook_sizes, default=1) - 1
    return next(size for size in (1, 2, 4, 8) if largest < 256**size)
