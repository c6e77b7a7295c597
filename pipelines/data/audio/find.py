"""Finding audio: one file, a folder with everything below it, or a manifest with a column of paths."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, TypeVar

from ....core.config import nearest_hint
from ....core.storage import UrlFile, UrlFolder, kind_of, parent_of, place_of
from ..importers.packed import PACKED, is_table_of_audio, packed_items
from .formats import AUDIO_SUFFIXES
from .item import AudioItem
from .manifest import MANIFEST_SUFFIXES, manifest_items
from .places import AudioPath, Root, local_file

logger = logging.getLogger(__name__)

TEXT_BYTES = 1024  # of a file that is neither audio nor a manifest by its name


class AudioSource:
    """The audio files of a source, in the order of the manifest or sorted by name, one at a time. They need not exist.

    It can be gone through again and again; what was found is not kept.

    Args:
        source: an audio file, a folder (searched with everything below it, by file suffix, without hidden files and
            folders), or a manifest `.jsonl`, `.jsonl.gz`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet` or Kaldi's
            `wav.scp`; paths in a manifest are relative to its folder. See `manifest_items` for segments. Also archives
            of WebDataset and tables of HF `datasets` (see `importers.packed`), and a URL of any of these.
        path_column: the column of paths of a manifest; None takes the first known one, such as `path`.
        where: keep the files whose metadata has these values; a list allows any of its values.

    Raises:
        FileNotFoundError: the source does not exist.
        StorageError: remote storage does not answer.
        ValueError: the source is a text file of an unknown kind. While it is gone through, or at the end: nothing was
            found, or a manifest cannot be read (the line is named) or lacks a column.
    """

    def __init__(self, source: str | Path, *, path_column: str | None = None, where: Mapping[str, Any] | None = None):
        self.place = place_of(source)
        self.path_column, self.where = path_column, where
        self.is_folder = _is_folder(self.place)
        name = str(self.place).lower()
        self.is_manifest = not self.is_folder and name.endswith(MANIFEST_SUFFIXES) and not is_table_of_audio(self)
        if isinstance(self.place, Path) and not self.is_folder and not self.is_manifest and not name.endswith(PACKED):
            _refuse_text(self.place)

    @property
    def root(self) -> Root:
        """The folder that the names of the items are relative to."""
        if isinstance(self.place, Path):
            return self.place if self.is_folder else self.place.parent
        return UrlFolder(self.place) if self.is_folder else parent_of(self.place)

    @property
    def file(self) -> AudioPath:
        """The source, where it is a file."""
        return self.place if isinstance(self.place, Path) else UrlFile(self.place)

    def __iter__(self) -> Iterator[AudioItem]:
        found = self._found()
        return filter_items(found, self.where, str(self.place)) if self.where else found

    def _found(self) -> Iterator[AudioItem]:
        if self.is_manifest:
            items, nothing = self._rows(), f"manifest {self.place} has no rows"
        elif self.is_folder or str(self.place).lower().endswith(PACKED):
            items = self._in_folder() if self.is_folder else packed_items(self.root, [self.file.name])
            nothing = (
                f"no audio in {self.place}: no file has a suffix such as .wav, .flac, .ogg, .mp3 or .m4a, and there is "
                "neither an archive (.tar) nor a parquet file with audio"
            )
        else:
            items, nothing = iter([AudioItem(path=self.file, name=self.file.name)]), ""
        first = next(items, None)
        if first is None:
            if isinstance(self.place, Path) and any(name.endswith(".npy") for name in file_names(self.place)):
                nothing += "; of latents that stable-audio-tools wrote, encode's latents_are says what they are"
            raise ValueError(nothing)
        yield first
        yield from items

    def _in_folder(self) -> Iterator[AudioItem]:
        """Yields the audio files of a folder, or where there are none what is in its archives and tables."""
        if isinstance(self.place, Path):
            packed: list[str] = []
            names: list[str] = []
            for name in file_names(self.place):
                (packed if name.lower().endswith(PACKED) else names).append(name)
            files: Iterator[AudioItem] = (AudioItem(path=self.place / n, name=n) for n in sorted(names) if _is_audio(n))
        else:
            found = [(name, file) for name, file in UrlFolder(self.place).files() if not _is_hidden(name)]
            packed = [name for name, _ in found if name.lower().endswith(PACKED)]
            files = (AudioItem(path=file, name=name) for name, file in found if _is_audio(name))
        first = next(files, None)
        if first is None:
            yield from packed_items(self.root, sorted(packed))
            return
        yield first
        yield from files

    def _rows(self) -> Iterator[AudioItem]:
        if isinstance(self.place, str) and self.place.endswith(".scp"):
            raise ValueError(f"{self.place}: a Kaldi folder cannot be read from a URL; copy its files to this machine")
        with local_file(self.file) as local:
            yield from manifest_items(local, self.path_column, root=self.root)


def find_audio(
    source: str | Path, *, path_column: str | None = None, where: Mapping[str, Any] | None = None
) -> list[AudioItem]:
    """Returns all files of an `AudioSource`, whose arguments and errors these are.

    Args:
        source: where to look.
        path_column: of a manifest.
        where: what to keep.
    """
    return list(AudioSource(source, path_column=path_column, where=where))


def _refuse_text(source: Path) -> None:
    if source.suffix.lower() in AUDIO_SUFFIXES:
        return
    with open(source, "rb") as file:
        head = file.read(TEXT_BYTES)
    if head and all(byte >= 32 or byte in b"\t\n\r" for byte in head):
        raise ValueError(
            f"{source} is a text file of an unknown kind: give audio, or a manifest ({', '.join(MANIFEST_SUFFIXES)})"
        )


def find_distinct_audio(source: str | Path, *, where: Mapping[str, Any] | None = None) -> list[AudioItem]:
    """Returns what `find_audio` does, but each file or segment only once, for measurements that ignore the row.

    A manifest may name a file several times, with other captions. Its first row is kept; the number of others is
    logged.
    """
    items = find_audio(source, where=where)
    found: dict[tuple[str, float, float | None], AudioItem] = {}
    for item in items:
        found.setdefault((os.path.normpath(str(item.path)), item.start_s, item.duration_s), item)
    if again := len(items) - len(found):
        logger.warning(
            "%s: %d of %d rows name a file again: each file is measured once, by its first row",
            source,
            again,
            len(items),
        )
    return list(found.values())


def left_out(path: str | AudioPath, error: Exception | str) -> dict[str, str]:
    """Returns the entry of a result for a file that could not be used, path and reason, and logs it."""
    reason = str(error).removeprefix(f"{path}: ")
    logger.warning("left out: %s: %s", path, reason)
    return {"path": str(path), "reason": reason}


def filter_items(items: Iterable[AudioItem], where: Mapping[str, Any], source: str) -> Iterator[AudioItem]:
    """Yields the items whose metadata match `where`.

    Args:
        items: to choose from.
        where: values by column; see `matches`.
        source: name of the source, for messages.

    Raises:
        ValueError: at the end, where no item has one of the columns, or no item matched.
    """
    known: set[str] = set()
    num_kept = 0
    for item in items:
        known.update(item.metadata)
        if matches(item.metadata, where):
            num_kept += 1
            yield item
    for column in where:
        if column not in known:
            hint = nearest_hint(column, known) if known else "it has no metadata"
            raise ValueError(f"{source} has no column {column!r} to filter by: {hint}")
    if not num_kept:
        raise ValueError(f"no row of {source} has {', '.join(f'{k} = {v!r}' for k, v in where.items())}")


def matches(metadata: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Returns whether every value of `where` equals that of the metadata, or is a list that contains it."""
    return all(
        metadata.get(key) in wanted if isinstance(wanted, (list, tuple)) else metadata.get(key) == wanted
        for key, wanted in where.items()
    )


def _is_folder(place: Path | str) -> bool:
    kind = kind_of(place) if isinstance(place, str) else "folder" if place.is_dir() else "file" * place.exists()
    if not kind:
        raise FileNotFoundError(f"no audio at {place}: there is no such file or folder")
    return kind == "folder"


def _is_audio(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def audio_names(folder: Path) -> Iterator[str]:
    """Yields names of audio files below `folder`; see `file_names`."""
    return (name for name in file_names(folder) if _is_audio(name))


def file_names(folder: Path) -> Iterator[str]:
    """Yields names of files below `folder`, with / between the parts.

    Hidden files and folders are left out. Links are followed, each folder once.
    """
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in files:
            if not file.startswith("."):
                yield (Path(parent) / file).relative_to(folder).as_posix()


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
