"""The files of a source as they are now, which shows what changed since a plan was made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Self

from ..audio.item import AudioItem
from ..audio.places import facts_of
from .ids import printable
from .plan import json_text


class FileState(NamedTuple):
    """A file or segment of the source."""

    path: str  # relative to the source
    start_s: float  # of the segment
    duration_s: float | None
    size: int  # bytes; -1 if there is no such file
    mtime_ns: int

    @classmethod
    def of(cls, item: AudioItem) -> Self:
        """Returns the state of an item's file now."""
        try:
            size, mtime_ns = facts_of(item.path)
        except (OSError, ValueError):  # ValueError: a name with NUL
            size, mtime_ns = -1, 0
        return cls(printable(item.name), item.start_s, item.duration_s, size, mtime_ns)


class SourceDigest:
    """A hash of names, states and metadata of files, which changes when files are added, removed or rewritten."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, state: FileState, metadata: str) -> None:
        """Adds a file and the JSON of its metadata."""
        self._hash.update(repr((*state, metadata)).encode())

    def hexdigest(self) -> str:
        """Returns the hex SHA-256 of what was added."""
        return self._hash.hexdigest()


def source_digest(items: Iterable[AudioItem]) -> str:
    """Returns the `SourceDigest` of a source."""
    digest = SourceDigest()
    for item in items:
        digest.add(FileState.of(item), json_text(item.metadata))
    return digest.hexdigest()
