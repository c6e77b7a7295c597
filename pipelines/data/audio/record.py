"""Folders of written audio whose record lists their files, so that a second run replaces those and no others."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....core.files import write_json
from ....core.outputs import prepare_output
from .find import audio_names
from .formats import AUDIO_SUFFIXES

logger = logging.getLogger(__name__)

FILES = "files"  # key of a record: paths relative to its folder
RECORDS = ("sample.json", "decode.json")


class RecordedFolder:
    """A folder that one command writes audio to, and the record of what it wrote.

    A folder that is counted as a whole later, by `latentune evaluate` say, holds nothing but the files of the last run:
    `begin` refuses audio of others, `finish` removes what the run before left and this one did not write again.

    Args:
        folder: to write to; it is created.
        record: name of the record, one of `RECORDS`.
        files: names of all files that are going to be written, in addition to the record.

    Raises:
        ValueError: the folder holds audio that the record does not list.
        OSError: it cannot be written to.
    """

    def __init__(self, folder: str | Path, record: str, files: Iterable[str]):
        self.path, self.record, self.files = Path(folder).expanduser(), record, sorted(files)
        self.before = _listed(self.path, record)
        self._refuse_strangers()
        prepare_output(self.path)

    def begin(self, contents: Mapping[str, Any]) -> None:
        """Writes the record with all files that may be there until `finish`: those of the run before, and the new."""
        self._write(contents, sorted({*self.before, *self.files}))

    def finish(self, contents: Mapping[str, Any]) -> None:
        """Removes what is left of the run before and writes the final record."""
        left = self.before - set(self.files)
        for name in left:
            (self.path / name).unlink(missing_ok=True)
        if num := sum(map(_is_audio, left)):
            logger.warning("%s: %d audio files of an earlier run were removed", self.path, num)
        self._write(contents, self.files)

    def _write(self, contents: Mapping[str, Any], files: Sequence[str]) -> None:
        write_json(self.path / self.record, {**contents, FILES: list(files)})

    def _refuse_strangers(self) -> None:
        if not self.path.is_dir():
            return
        lists: dict[Path, set[str]] = {}
        strangers = [
            name
            for name in sorted(audio_names(self.path))
            if name not in self.before and not _is_recorded(self.path / name, self.path, lists)
        ]
        if strangers:
            more = f" and {len(strangers) - 1} more" if len(strangers) > 1 else ""
            raise ValueError(
                f"{self.path} holds audio that its {self.record} does not list, {strangers[0]}{more}: choose "
                "another output folder, or remove these files"
            )


def check_records(folder: str | Path) -> None:
    """Refuses a folder of written audio that does not hold what its record lists, of a run that was interrupted say.

    Raises:
        ValueError: files are missing or unlisted; the first one is named.
    """
    path = Path(folder)
    records = [name for name in RECORDS if (path / name).is_file()]
    if not records:
        return
    wanted = {name for name in set().union(*(_listed(path, record) for record in records)) if _is_audio(name)}
    lists: dict[Path, set[str]] = {}
    there = set(audio_names(path))
    missing = sorted(wanted - there)
    strange = sorted(name for name in there - wanted if not _is_recorded(path / name, path, lists))
    for names, what in ((missing, "does not hold"), (strange, "holds audio that it does not list,")):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ValueError(
                f"{path / records[0]} lists {len(wanted)} audio files, and the folder {what} {names[0]}{more}: "
                "complete the run that writes it, or remove the record"
            )


def _is_audio(name: str) -> bool:
    return Path(name).suffix.lower() in AUDIO_SUFFIXES


def _listed(folder: Path, record: str) -> set[str]:
    """Returns the files that a record lists, as far as they lie below its folder; none without a readable record."""
    try:
        files = json.loads((folder / record).read_text(encoding="utf-8"))[FILES]
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    if not isinstance(files, list):
        return set()
    root = folder.resolve()
    return {name for name in files if isinstance(name, str) and (root / name).resolve().is_relative_to(root)}


def _is_recorded(path: Path, top: Path, lists: dict[Path, set[str]]) -> bool:
    """Returns whether a folder between `path` and `top`, `top` itself excluded, has a record that lists the file.

    Args:
        path: of the file.
        top: the folder that is going to be written to.
        lists: files that the records of a folder list; folders that are not in it yet are read and added.
    """
    for folder in path.parents:
        if folder == top:
            return False
        if folder not in lists:
            lists[folder] = set().union(*(_listed(folder, record) for record in RECORDS))
        if path.relative_to(folder).as_posix() in lists[folder]:
            return True
    return False
