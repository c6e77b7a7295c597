"""Finding audio: one file, a folder with everything below it, or a manifest with a column of paths."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ....core.config import nearest_hint
from .read import AUDIO_SUFFIXES

logger = logging.getLogger(__name__)

MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True)
class AudioItem:
    """One audio file and its metadata."""

    path: Path  # absolute
    name: str  # relative to the source, so that it does not depend on the place of the source
    metadata: dict[str, Any] = field(default_factory=dict)  # plain JSON values: the other columns of the manifest


def find_audio(
    source: str | Path, *, path_column: str = "path", where: Mapping[str, Any] | None = None
) -> list[AudioItem]:
    """Returns the audio files of `source`, in the order of the manifest or sorted by name. They need not exist.

    Args:
        source: an audio file, a folder (searched with everything below it, by file suffix), or a manifest `.jsonl`,
            `.jsonl.gz`, `.csv` or `.parquet`; paths in a manifest are relative to its folder.
        path_column: the column of paths of a manifest.
        where: keep the files whose metadata has these values; a list allows any of its values.

    Raises:
        FileNotFoundError: the source does not exist.
        ValueError: nothing was found, or a manifest cannot be read (the line is named) or lacks a column.
    """
    source = Path(source).expanduser().absolute()
    if not source.exists():
        raise FileNotFoundError(f"no audio at {source}: there is no such file or folder")
    if source.is_dir():
        items = [AudioItem(path=source / name, name=name) for name in sorted(audio_names(source))]
        if not items:
            raise ValueError(f"no audio in {source}: no file has a suffix such as .wav, .flac, .ogg, .mp3 or .m4a")
    elif source.name.lower().endswith(MANIFEST_SUFFIXES):
        items = list(_manifest_items(source, path_column))
        if not items:
            raise ValueError(f"manifest {source} has no rows")
    else:
        items = [AudioItem(path=source, name=source.name)]
    return filter_items(items, where, str(source)) if where else items


def find_distinct_audio(source: str | Path, *, where: Mapping[str, Any] | None = None) -> list[AudioItem]:
    """Returns what `find_audio` does, but each file only once, for measurements that do not depend on the row.

    A manifest may name a file several times, with other captions. Its first row is kept; the number of others is
    logged.
    """
    items = find_audio(source, where=where)
    found: dict[str, AudioItem] = {}
    for item in items:
        found.setdefault(os.path.normpath(item.path), item)
    if again := len(items) - len(found):
        logger.warning(
            "%s: %d of %d rows name a file again: each file is measured once, by its first row",
            source,
            again,
            len(items),
        )
    return list(found.values())


def left_out(path: str | Path, error: Exception | str) -> dict[str, str]:
    """Returns the entry of a result for a file that could not be used, path and reason, and logs it."""
    reason = str(error).removeprefix(f"{path}: ")
    logger.warning("left out: %s: %s", path, reason)
    return {"path": str(path), "reason": reason}


def filter_items(items: list[AudioItem], where: Mapping[str, Any], source: str) -> list[AudioItem]:
    """Returns the items whose metadata match `where`.

    Args:
        items: to choose from.
        where: values by column; see `matches`.
        source: name of the source, for messages.

    Raises:
        ValueError: no item has one of the columns, or no item is left.
    """
    known = {key for item in items for key in item.metadata}
    for column in where:
        if column not in known:
            hint = nearest_hint(column, known) if known else "it has no metadata"
            raise ValueError(f"{source} has no column {column!r} to filter by: {hint}")
    kept = [item for item in items if matches(item.metadata, where)]
    if not kept:
        raise ValueError(f"no row of {source} has {', '.join(f'{k} = {v!r}' for k, v in where.items())}")
    return kept


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Returns whether every value of `where` equals that of the metadata, or is a list that contains it."""
    return all(
        metadata.get(key) in wanted if isinstance(wanted, (list, tuple)) else metadata.get(key) == wanted
        for key, wanted in where.items()
    )


def audio_names(folder: Path) -> Iterator[str]:
    """Yields names of audio files below `folder`, with / between the parts. Links are followed, each folder once."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        for file in files:
            if Path(file).suffix.lower() in AUDIO_SUFFIXES and not file.startswith("."):
                yield (Path(parent) / file).relative_to(folder).as_posix()


def _manifest_items(manifest: Path, path_column: str) -> Iterator[AudioItem]:
    for number, row in enumerate(_rows(manifest), start=1):
        if None in row:  # the key of csv.DictReader for fields beyond the header
            raise ValueError(
                f"manifest {manifest}, row {number} has more fields than the header: quote fields with commas"
            )
        if path_column not in row:
            columns = ", ".join(map(str, row)) or "none"
            raise ValueError(
                f"manifest {manifest}, row {number} has no column {path_column!r} (its columns: {columns}): "
                "name the column of paths with path_column"
            )
        name = row.pop(path_column)
        if not isinstance(name, str) or not name:
            raise ValueError(f"manifest {manifest}, row {number}: {path_column} is {name!r}, not a path")
        yield AudioItem(
            path=manifest.parent / Path(name).expanduser(),
            name=name,
            metadata={str(key): _plain(value) for key, value in row.items()},
        )


def _rows(manifest: Path) -> Iterable[dict[str, Any]]:
    name = manifest.name.lower()
    if name.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        try:
            rows: list[dict[str, Any]] = pyarrow.parquet.read_table(manifest).to_pylist()
        except pyarrow.ArrowException as error:
            raise ValueError(f"manifest {manifest} is not a readable parquet file ({error})") from error
        return rows
    try:
        if name.endswith(".csv"):
            with open(manifest, newline="", encoding="utf-8-sig") as file:
                return list(csv.DictReader(file))
        with (
            gzip.open(manifest, "rt", encoding="utf-8")
            if name.endswith(".gz")
            else open(manifest, encoding="utf-8") as file
        ):
            return [_json_row(manifest, number, line) for number, line in enumerate(file, start=1) if line.strip()]
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, csv.Error) as error:
        raise ValueError(f"manifest {manifest} cannot be read ({error})") from error


def _json_row(manifest: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"manifest {manifest}, line {number} is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"manifest {manifest}, line {number} is {type(row).__name__}, not an object with columns")
    return row


def _plain(value: Any) -> Any:
    """Returns a value that JSON can hold: NaN becomes null, and types that JSON lacks (dates, bytes) become text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, bool)) else str(value)


class Named(Protocol):
    """Anything with a name."""

    @property
    def name(self) -> str:
        """Relative to its source."""
        ...


N = TypeVar("N", bound=Named)


def choose_items(items: Iterable[N], most: int | None) -> list[N]:
    """Returns at most `most` items, spread evenly over all of them sorted by name: their order does not matter."""
    ordered = sorted(items, key=lambda item: item.name)
    if most is None or most >= len(ordered):
        return ordered
    return [ordered[number * len(ordered) // most] for number in range(most)]
