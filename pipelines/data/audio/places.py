"""Where audio is: a path, a URL, or a member of an archive. All but a path is read from a temporary copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Protocol

from ....core.file_cache import FileCache
from ....core.files import file_sha256
from ....core.storage import UrlFile, UrlFolder, is_url

cache = FileCache()


class StoredFile(Protocol):
    """A file that must be copied to this machine to be read. Equal ones have the same address."""

    @property
    def name(self) -> str:
        """The last part of its address."""
        ...

    @property
    def suffix(self) -> str:
        """The suffix of its name, with its dot."""
        ...

    def facts(self) -> tuple[int, int]:
        """Returns size in bytes and time of modification in ns; raises OSError if there is no such file."""
        ...

    def fetch(self, target: Path) -> None:
        """Copies it to this machine; raises OSError if it cannot be read, StorageError if the storage is gone."""
        ...

    def __hash__(self) -> int: ...


AudioPath = Path | StoredFile
Root = Path | UrlFolder


def resolve(root: Root, name: str) -> AudioPath:
    """Returns the file of a name that is relative to the root of a source, or absolute.

    Args:
        root: folder of the source.
        name: of the file; `archive.tar/member` and `table.parquet/row` are recordings inside of a file.

    Raises:
        ValueError, RuntimeError: no file can have this name.
    """
    if ".tar/" in name or ".parquet/" in name or ".arrow/" in name:
        from .archives import member_of

        if (member := member_of(root, name)) is not None:
            return member
    if is_url(name):
        return UrlFile(name)
    if isinstance(root, UrlFolder):
        return root.file(name)
    return root / (Path(name).expanduser() if name.startswith("~") else name)


def local_file(path: AudioPath) -> AbstractContextManager[Path]:
    """Returns a context whose value is a path on this machine, which holds the content as long as the context.

    Entering it raises OSError if the file cannot be read, and StorageError if the storage does not answer.
    """
    return nullcontext(path) if isinstance(path, Path) else _copied(path)


@contextmanager
def _copied(path: StoredFile) -> Iterator[Path]:
    with cache.lease((path, path.facts()), path.suffix, path.fetch) as local:  # what changed is copied again
        yield local


def facts_of(path: AudioPath) -> tuple[int, int]:
    """Returns size in bytes and time of modification in ns; raises OSError or ValueError if there is no such file."""
    if isinstance(path, Path):
        found = path.stat()
        return found.st_size, found.st_mtime_ns
    return path.facts()


def content_hash(path: AudioPath) -> str:
    """Returns the hex SHA-256 of a file's bytes; raises OSError or ValueError if it cannot be read."""
    with local_file(path) as local:
        return file_sha256(local)
