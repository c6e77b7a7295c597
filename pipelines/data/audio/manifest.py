"""Manifests: tables of audio files with metadata, in the formats that the field uses."""

from __future__ import annotations

import csv
import gzip
import json
import logging
import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from .item import AudioItem
from .places import Root, resolve

logger = logging.getLogger(__name__)

MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".scp")
# the columns of paths that common data sets use, of which the first that is there is taken
PATH_COLUMNS = ("path", "audio_filepath", "audio_path", "file_name", "filename", "file", "audio", "wav")
SEGMENT_COLUMNS = ("offset", "start", "end", "duration")
ROWS_AT_ONCE = 8192  # of a parquet file
Row = dict[str, Any]


def manifest_items(manifest: Path, path_column: str | None = None, *, root: Root | None = None) -> Iterator[AudioItem]:
    """Yields the rows of a manifest. What is wrong with a single row is its `problem`.

    The columns `offset` and `duration`, or `start` and `end`, in seconds, choose a part of the file. A `duration` alone
    describes the file.

    Args:
        manifest: file of one of the `MANIFEST_SUFFIXES`.
        path_column: of the paths, which are relative to the folder of the manifest; None takes the first known one.
        root: that the paths are relative to, if it is not the folder of the manifest.

    Raises:
        ValueError: it cannot be read (the line is named), or lacks a column of paths.
    """
    cleaned = count()  # texts that were cleaned
    for number, row in enumerate(read_rows(manifest), start=1):
        if None in row:  # the key of csv.DictReader for fields beyond the header
            raise ValueError(
                f"manifest {manifest}, row {number} has more fields than the header: quote fields with commas"
            )
        column = path_column or next((name for name in PATH_COLUMNS if name in row), "path")
        if column not in row:
            columns = ", ".join(map(str, row)) or "none"
            raise ValueError(
                f"manifest {manifest}, row {number} has no column {column!r} (its columns: {columns}): "
                "name the column of paths with path_column"
            )
        yield _item(root or manifest.parent, number, row, column, cleaned)
    if times := next(cleaned):
        logger.warning("manifest %s: %d texts with half a surrogate pair: it is replaced by U+FFFD", manifest, times)


def _item(root: Root, number: int, row: Row, column: str, cleaned: Iterator[int]) -> AudioItem:
    name, problem, start_s, duration_s = row.pop(column), "", 0.0, None
    path = resolve(root, ".")
    if isinstance(name, str) and name:
        try:
            path = resolve(root, name)
            start_s, duration_s = _segment(row)
        except (ValueError, RuntimeError) as error:
            problem = str(error)
    else:
        name, problem = f"row {number}", f"{column} is {name!r}, not a path"
    return AudioItem(
        path=path,
        name=name,
        metadata={str(key): _plain(value, cleaned) for key, value in row.items()},
        start_s=start_s,
        duration_s=duration_s,
        problem=problem,
    )


def _segment(row: Mapping[str, Any]) -> tuple[float, float | None]:
    """Returns start and duration of the part of the file that a row names; without any, (0, None)."""
    if row.keys().isdisjoint(SEGMENT_COLUMNS):
        return 0.0, None
    offset, start, end, duration = (_seconds(row, name) for name in SEGMENT_COLUMNS)
    begin_s = start if offset is None else offset
    if begin_s is None and end is None:
        return 0.0, None
    begin_s = begin_s or 0.0
    if end is not None and (offset is None or duration is None):
        duration = end - begin_s
    if begin_s < 0 or (duration is not None and duration <= 0):
        length = "" if duration is None else f" of {duration:g} s"
        raise ValueError(f"the segment{length} from {begin_s:g} s is not a part of a file")
    return begin_s, duration


def _seconds(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not math.isfinite(seconds):
        raise ValueError(
            f"{column} is {value!r}, not a number of seconds (offset, duration, start, end choose a part of a file): "
            "rename the column if it means something else"
        )
    return seconds


def read_rows(manifest: Path) -> Iterator[Row]:
    """Yields the rows of a table of one of the `MANIFEST_SUFFIXES`; all but `.json` are read row by row.

    Raises:
        ValueError: it cannot be read; the line is named.
    """
    name = manifest.name.lower()
    try:
        if name.endswith(".parquet"):
            yield from _parquet_rows(manifest)
        elif name.endswith((".csv", ".tsv")):
            with open(manifest, newline="", encoding="utf-8-sig") as file:
                if name.endswith(".csv"):
                    yield from csv.DictReader(file)
                else:
                    yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)  # a quote is text
        elif name.endswith(".scp"):
            yield from _kaldi_rows(manifest)
        else:
            with gzip.open(manifest) if name.endswith(".gz") else open(manifest, "rb") as lines:
                if name.endswith(".json"):
                    yield from _json_array(manifest, lines.read().decode("utf-8-sig"))
                else:
                    yield from _json_lines(lines, f"manifest {manifest}")
    except UnicodeDecodeError as error:
        raise ValueError(f"manifest {manifest} is not UTF-8 ({error}): save it with that encoding") from error
    except (gzip.BadGzipFile, EOFError, zlib.error, csv.Error) as error:
        raise ValueError(f"manifest {manifest} cannot be read ({error})") from error


def _json_lines(lines: Iterable[bytes], where: str) -> Iterator[Row]:
    r"""Yields the objects of JSON lines, which end at \n alone: U+2028 and others may stand in a string.

    Args:
        lines: of the file.
        where: name of the file, for messages.

    Raises:
        ValueError: a line is not an object; it is named.
    """
    for number, line in enumerate(lines, start=1):
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        if text.strip():
            yield _object(f"{where}, line {number}", text)


def _object(where: str, text: str) -> Row:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where} is {type(row).__name__}, not an object with columns")
    return row


def _json_array(manifest: Path, text: str) -> list[Row]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise ValueError(f"manifest {manifest} is not JSON ({error}): JSON lines are called .jsonl") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"manifest {manifest} is not a JSON array of objects with columns")
    return rows


def _parquet_rows(manifest: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(manifest) as table:
            for rows in table.iter_batches(ROWS_AT_ONCE):
                yield from rows.to_pylist()
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"manifest {manifest} is not a readable parquet file ({error})") from error


def _kaldi_rows(scp: Path) -> Iterator[Row]:
    """Yields the recordings of a Kaldi data folder, or its segments, with `text` and `speaker` where they are known."""
    files = _kaldi_table(scp)
    texts, speakers = _kaldi_table(scp.with_name("text")), _kaldi_table(scp.with_name("utt2spk"))
    segments = _kaldi_table(scp.with_name("segments")) or {name: name for name in files}
    for name, place in segments.items():
        recording, *times = place.split()
        row: Row = {"path": _kaldi_path(files.get(recording)), "utterance": name}
        if times:
            row |= dict(zip(("start", "end"), times, strict=False))
        for column, table in (("text", texts), ("speaker", speakers)):
            if table:
                row[column] = table.get(name)
        yield row


def _kaldi_path(entry: str | None) -> str | None:
    if entry is not None and entry.endswith("|"):
        logger.warning("a command of wav.scp is not run: %s", entry)
        return None
    return entry


def _kaldi_table(path: Path) -> dict[str, str]:
    """Returns the lines of a Kaldi file by their first field; empty if there is none."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return {
        fields[0]: fields[1].strip() if len(fields) > 1 else "" for line in lines if (fields := line.split(None, 1))
    }


def json_values(row: Any) -> Row:
    """Returns metadata as JSON and UTF-8 can hold them; raises ValueError if they are not an object."""
    if not isinstance(row, Mapping):
        raise ValueError(f"it is {type(row).__name__}, not an object")
    cleaned = count()
    return {str(key): _plain(value, cleaned) for key, value in row.items()}


def _plain(value: Any, cleaned: Iterator[int]) -> Any:
    """Returns a value that JSON and UTF-8 can hold.

    NaN becomes null, types that JSON lacks (dates, bytes) become text, and half a surrogate pair becomes U+FFFD.
    """
    if isinstance(value, str) and value.isascii():
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(str(key), cleaned): _plain(item, cleaned) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, cleaned) for item in value]
    if value is None or isinstance(value, (int, bool)):
        return value
    text = str(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        next(cleaned)
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
