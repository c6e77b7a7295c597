"""Recordings inside of files: members of a tar archive (WebDataset), and rows of a table (HF `datasets`)."""

from __future__ import annotations

import bisect
import functools
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from .places import AudioPath, Root, facts_of, local_file, resolve

MEMBER = re.compile(r"^(?P<archive>.*?\.tar)/(?P<member>.+)$", re.DOTALL)
CELL = re.compile(r"^(?P<table>.*?\.(?:parquet|arrow))/(?P<row>\d+)(/(?P<column>[^/]+))?$", re.DOTALL)
AUDIO_COLUMN = "audio"
COPY_BYTES = 1 << 20


@dataclass(frozen=True)
class TarMember:
    """A file inside of an archive that is not compressed."""

    archive: AudioPath
    member: str

    def __str__(self) -> str:
        return f"{self.archive}/{self.member}"

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.member).name

    @property
    def suffix(self) -> str:
        """The suffix of its name."""
        return PurePosixPath(self.member).suffix

    def facts(self) -> tuple[int, int]:
        """Returns size in bytes and time of modification in ns; raises OSError if it is not there."""
        with local_file(self.archive) as local:
            found = _member(local, self.member)
        return found.size, round(found.mtime * 1e9)

    def fetch(self, target: Path) -> None:
        """Copies it out of the archive; raises OSError if it is not there, or not whole."""
        with local_file(self.archive) as local, open(local, "rb") as file, open(target, "wb") as out:
            found = _member(local, self.member)
            file.seek(found.offset)
            left = found.size
            while left and (block := file.read(min(left, COPY_BYTES))):
                out.write(block)
                left -= len(block)
        if left:
            raise OSError(f"{self}: the archive ends {left} bytes too early")


@dataclass(frozen=True)
class TableCell:
    """An encoded recording in a row of a table, as HF `datasets` stores it: a struct of `bytes` and `path`."""

    table: AudioPath
    row: int
    column: str = AUDIO_COLUMN

    def __str__(self) -> str:
        return f"{self.table}/{self.row}" + (f"/{self.column}" if self.column != AUDIO_COLUMN else "")

    @property
    def name(self) -> str:
        """The last part of its address."""
        return str(self.row)

    @property
    def suffix(self) -> str:
        """Empty: the format shows in the content."""
        return ""

    def facts(self) -> tuple[int, int]:
        """Returns those of the table: a table that is written again may have other recordings."""
        return facts_of(self.table)

    def fetch(self, target: Path) -> None:
        """Copies the recording out of the table; raises OSError if there is none."""
        with local_file(self.table) as local:
            content = open_table(local).cell(self.row, self.column)
        data = content.get("bytes") if isinstance(content, Mapping) else content
        if not isinstance(data, bytes):
            path = content.get("path") if isinstance(content, Mapping) else None
            raise OSError(f"{self}: holds no audio{f', only the path {path}' if path else ''}")
        target.write_bytes(data)


def member_of(root: Root, name: str) -> AudioPath | None:
    """Returns the recording that a name such as `archive.tar/member` or `table.parquet/3` means, or None if it is the
    path of a file in a folder that is called like that.

    Args:
        root: of the source.
        name: relative to it, or absolute.
    """
    if found := MEMBER.match(name):
        archive = resolve(root, found["archive"])
        return None if isinstance(archive, Path) and archive.is_dir() else TarMember(archive, found["member"])
    if found := CELL.match(name):
        table = resolve(root, found["table"])
        if not (isinstance(table, Path) and table.is_dir()):
            return TableCell(table, int(found["row"]), found["column"] or AUDIO_COLUMN)
    return None


class Member(NamedTuple):
    """Where a file is in an archive."""

    offset: int  # bytes
    size: int  # bytes
    mtime: float  # seconds


@dataclass(frozen=True)
class Members:
    """The files of an archive by their paths, of several with one path the last, and what is wrong with the rest."""

    files: Mapping[str, Member]
    problem: str


def members(local: Path) -> Members:
    """Returns what an archive holds, as far as it can be read; raises OSError if it is not there."""
    return _members(local, _state(local))


@functools.lru_cache(maxsize=32)
def _members(local: Path, state: tuple[int, int]) -> Members:
    """`state` is size and time of the archive: one that was changed is read again."""
    found: dict[str, Member] = {}
    try:
        with tarfile.open(local, "r:") as archive:
            for info in archive:
                if info.isreg():
                    found[info.name] = Member(info.offset_data, info.size, info.mtime)
                archive.members = []  # type: ignore[attr-defined]  # otherwise all headers are kept
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        return Members(found, f"not a whole tar archive ({error}); compressed ones are not read")
    return Members(found, "")


def _member(local: Path, name: str) -> Member:
    found = members(local).files.get(name)
    if found is None:
        raise FileNotFoundError(f"{local} has no member {name}")
    return found


def _state(local: Path) -> tuple[int, int]:
    facts = local.stat()
    return facts.st_size, facts.st_mtime_ns


class Table:
    """A parquet file, or one in Arrow's streaming format, as HF `datasets` saves it.

    Raises:
        OSError: it cannot be read.
    """

    def __init__(self, local: Path):
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet

        self.local = local
        try:
            if local.suffix.lower() == ".arrow":
                self._whole = pyarrow.ipc.open_stream(pyarrow.memory_map(str(local))).read_all()
                self._starts, self.schema = [0, self._whole.num_rows], self._whole.schema
                return
            self._file = pyarrow.parquet.ParquetFile(local)
        except (pyarrow.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())[:120]
            raise OSError(f"{local} is not a readable {local.suffix} file ({reason})") from error
        self._whole, self.schema = None, self._file.schema_arrow
        self._starts = [0]
        for group in range(self._file.num_row_groups):
            self._starts.append(self._starts[-1] + self._file.metadata.row_group(group).num_rows)

    def rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Yields the rows with these columns; raises OSError if the file is damaged."""
        import pyarrow

        if not columns:
            yield from ({} for _ in range(self._starts[-1]))
            return
        batches = (
            self._file.iter_batches(columns=list(columns))
            if self._whole is None
            else self._whole.select(list(columns)).to_batches()
        )
        try:
            for batch in batches:
                yield from batch.to_pylist()
        except pyarrow.ArrowException as error:
            raise OSError(f"{self.local} is damaged ({' '.join(str(error).split())[:120]})") from error

    def cell(self, row: int, column: str) -> Any:
        """Returns a value; raises OSError if it is not there."""
        import pyarrow

        group = bisect.bisect_right(self._starts, row) - 1
        if group >= len(self._starts) - 1:
            raise FileNotFoundError(f"{self.local} has no row {row}")
        try:
            return self._column(group, column)[row - self._starts[group]].as_py()
        except (KeyError, pyarrow.ArrowException) as error:
            raise OSError(f"{self.local}: column {column} cannot be read ({error})") from error

    @functools.lru_cache(maxsize=2)  # noqa: B019 - rows are read in order; a table lives as long as its own cache
    def _column(self, group: int, column: str) -> Any:
        if self._whole is not None:
            return self._whole.column(column)
        return self._file.read_row_group(group, columns=[column]).column(column)


def open_table(local: Path) -> Table:
    """Opens a table; raises OSError if it is not one. The last few stay open."""
    return _open_table(local, _state(local))


@functools.lru_cache(maxsize=4)
def _open_table(local: Path, state: tuple[int, int]) -> Table:
    return Table(local)
