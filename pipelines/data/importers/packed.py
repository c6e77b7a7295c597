"""Recordings in archives of WebDataset and in tables of HF `datasets`, as sources of audio.

WebDataset (github.com/webdataset/webdataset): members of a tar archive whose path is the same up to the first dot of
the name are one sample, `0001.flac` with `0001.json` (an object) and `0001.txt`. HF `datasets`: a parquet or Arrow
file with a column of structs `{bytes, path}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ..audio.archives import AUDIO_COLUMN, Member, TableCell, TarMember, members, open_table
from ..audio.formats import AUDIO_SUFFIXES
from ..audio.item import AudioItem
from ..audio.manifest import json_values
from ..audio.places import AudioPath, Root, local_file, resolve

if TYPE_CHECKING:
    import pyarrow

    from ..audio.find import AudioSource

TABLES = (".parquet", ".arrow")
PACKED = (".tar", *TABLES)
TEXTS = {".txt": "text", ".text": "text", ".caption": "text", ".cls": "label"}  # suffix of a member -> column
MAX_TEXT_BYTES = 1 << 20  # of a member that holds metadata


def packed_items(root: Root, names: Sequence[str]) -> Iterator[AudioItem]:
    """Yields the recordings in archives and tables. One that cannot be read has a `problem`.

    Args:
        root: of the source.
        names: of the files, relative to it.
    """
    for name in names:
        place = resolve(root, name)
        try:
            with local_file(place) as local:
                yield from (_tar_items if name.lower().endswith(".tar") else _table_items)(place, name, local)
        except OSError as error:
            yield AudioItem(path=place, name=name, problem=str(error).removeprefix(f"{place}: "))


def is_table_of_audio(source: AudioSource) -> bool:
    """Returns whether a source is a parquet file that holds audio, and not only paths."""
    if not str(source.place).lower().endswith(TABLES):
        return False
    try:
        with local_file(source.file) as local:
            return audio_column(open_table(local).schema) is not None
    except OSError:
        return False  # who reads it as a manifest says what is wrong


def audio_column(schema: pyarrow.Schema) -> str | None:
    """Returns the column of recordings: `audio`, or else the first one of structs with bytes and a path."""
    import pyarrow

    def is_audio(kind: pyarrow.DataType) -> bool:
        if not pyarrow.types.is_struct(kind):
            return False
        fields = {kind.field(number).name: kind.field(number).type for number in range(kind.num_fields)}
        return "bytes" in fields and "path" in fields

    found = [field.name for field in schema if is_audio(field.type)]
    plain = [
        field.name
        for field in schema
        if field.name == AUDIO_COLUMN
        and (pyarrow.types.is_binary(field.type) or pyarrow.types.is_large_binary(field.type))
    ]
    return next(iter([name for name in found if name == AUDIO_COLUMN] + plain + found), None)


def _tar_items(archive: AudioPath, name: str, local: Path) -> Iterator[AudioItem]:
    """Yields the recordings of an archive, in its order."""
    found = members(local)
    samples: dict[str, list[str]] = {}
    for member in found.files:
        if not PurePosixPath(member).name.startswith("."):
            samples.setdefault(_key(member), []).append(member)
    for key, own in samples.items():
        audio = [member for member in own if PurePosixPath(member).suffix.lower() in AUDIO_SUFFIXES]
        metadata, problem = _metadata(local, found.files, [member for member in own if member not in audio])
        for member in audio:
            yield AudioItem(
                path=TarMember(archive, member), name=f"{name}/{member}", metadata=metadata, problem=problem
            )
        if not audio:
            yield AudioItem(path=TarMember(archive, key), name=f"{name}/{key}", problem="the sample has no audio")
    if found.problem:
        yield AudioItem(path=archive, name=name, problem=found.problem)


def _key(member: str) -> str:
    path = PurePosixPath(member)
    return str(path.with_name(path.name.partition(".")[0]))


def _metadata(local: Path, files: Mapping[str, Member], own: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Returns the metadata of a sample, and what is wrong with them."""
    values: dict[str, Any] = {}
    for member in own:
        suffix = PurePosixPath(member).suffix.lower()
        if suffix != ".json" and suffix not in TEXTS:
            continue
        if files[member].size > MAX_TEXT_BYTES:
            return values, f"{PurePosixPath(member).name} has {files[member].size} bytes, too many for metadata"
        with open(local, "rb") as file:
            file.seek(files[member].offset)
            content = file.read(files[member].size)
        try:
            text = content.decode("utf-8-sig")
            if suffix in TEXTS:
                values.setdefault(TEXTS[suffix], text.strip())
            else:
                values |= json_values(json.loads(text))
        except ValueError as error:
            return values, f"{PurePosixPath(member).name} cannot be read ({error})"
    return values, ""


def _table_items(place: AudioPath, name: str, local: Path) -> Iterator[AudioItem]:
    """Yields the rows of a table."""
    table = open_table(local)
    column = audio_column(table.schema)
    if column is None:
        raise OSError(f"has no column of audio with bytes and path (its columns: {', '.join(table.schema.names)})")
    suffix = "" if column == AUDIO_COLUMN else f"/{column}"
    for row, values in enumerate(table.rows([other for other in table.schema.names if other != column])):
        item = AudioItem(path=TableCell(place, row, column), name=f"{name}/{row}{suffix}")
        yield replace(item, metadata=json_values(values))
