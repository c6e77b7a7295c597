"""Files that lie elsewhere, by URL: listed, copied to this machine and written, always whole, through fsspec."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from .errors import MissingPackageError, StorageError
from .leftovers import temporary_path

SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")
LOCAL = ("file://", "local://")
PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "hf": "huggingface_hub",
}
ATTEMPTS, WAIT_S = 4, 1.0  # the wait doubles
MISSING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)  # no use to try again
T = TypeVar("T")


def is_url(place: object) -> bool:
    """Returns whether a text is a URL, such as `s3://bucket/folder`, and not a path."""
    return isinstance(place, (str, UrlFolder, UrlFile)) and SCHEME.match(str(place)) is not None


def place_of(text: str | Path) -> Path | str:
    """Returns an absolute path, also of a `file://` URL, or any other URL as it is, without a slash at its end."""
    for scheme in LOCAL:
        if isinstance(text, str) and text.startswith(scheme):
            return Path(text.removeprefix(scheme)).absolute()
    return str(text).rstrip("/") if is_url(text) else Path(text).expanduser().absolute()


@dataclass(frozen=True)
class UrlFile:
    """A file on remote storage. Size and time are those of the listing that found it."""

    url: str
    size: int = field(default=-1, compare=False)  # bytes; -1: not known
    mtime_ns: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.url).name

    @property
    def suffix(self) -> str:
        """The suffix of the name, with its dot."""
        return PurePosixPath(self.url).suffix

    def facts(self) -> tuple[int, int]:
        """Returns size in bytes and time of modification in ns; raises OSError if there is no such file."""
        if self.size >= 0:
            return self.size, self.mtime_ns
        found = _entry("", _attempt(self.url, lambda system, path: system.info(path)))
        return found.size, found.mtime_ns

    def fetch(self, target: Path) -> None:
        """Copies the file to this machine, under a temporary name first.

        Raises:
            FileNotFoundError, PermissionError: there is no such file, or it may not be read.
            StorageError: the storage does not answer.
        """
        part = temporary_path(target)
        try:
            _attempt(self.url, lambda system, path: system.get_file(path, str(part)))
            os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)


@dataclass(frozen=True)
class UrlFolder:
    """A folder, or prefix, on remote storage."""

    url: str

    def __str__(self) -> str:
        return self.url

    def file(self, name: str) -> UrlFile:
        """Returns the file of a name relative to the folder."""
        return UrlFile(f"{self.url.rstrip('/')}/{name}")

    def files(self) -> list[tuple[str, UrlFile]]:
        """Returns the relative names of all files below the folder, and the files, sorted by name.

        Raises:
            FileNotFoundError: there is no such folder.
            StorageError: the storage does not answer.
        """
        found = _attempt(self.url, lambda system, path: (path, system.find(path, detail=True)))
        root, entries = found[0].rstrip("/") + "/", found[1]
        names = sorted((path.removeprefix(root).lstrip("/"), facts) for path, facts in entries.items())
        return [(name, _entry(f"{self.url.rstrip('/')}/{name}", facts)) for name, facts in names if name]


def parent_of(url: str) -> UrlFolder:
    """Returns the folder that the file at `url` lies in."""
    return UrlFolder(url.rpartition("/")[0])


def kind_of(url: str) -> str | None:
    """Returns `file` or `folder`, or None if nothing is there."""
    try:
        facts = _attempt(url, lambda system, path: system.info(path))
    except FileNotFoundError:
        return None
    return "folder" if facts["type"] == "directory" else "file"


def upload(path: Path, url: str) -> None:
    """Copies a file of this machine to `url`: whole, or not at all.

    Raises:
        StorageError: it cannot be written.
    """

    def put(system: Any, target: str) -> None:
        if getattr(system, "async_impl", False):  # object stores: an object is there when all of it is
            system.put_file(str(path), target)
            return
        part = f"{target.rpartition('/')[0]}/.{target.rpartition('/')[2]}.{os.getpid()}.part"
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(path), part)
        system.mv(part, target)

    try:
        _attempt(url, put)
    except MISSING as error:
        reason = str(error).removeprefix(f"{url}: ")
        raise StorageError(f"cannot write {url} ({reason}): check the address and the permissions") from error


def remove(url: str) -> None:
    """Removes a file."""
    _attempt(url, lambda system, path: system.rm_file(path))


def _entry(url: str, facts: dict[str, Any]) -> UrlFile:
    changed = next((facts[key] for key in ("mtime", "LastModified", "last_modified", "created") if facts.get(key)), 0.0)
    seconds = changed.timestamp() if isinstance(changed, datetime) else float(changed)
    # in whole seconds, as all answers of a server give it
    return UrlFile(url, int(facts.get("size") or 0), int(seconds) * 10**9)


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    scheme = url.partition("://")[0]
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url)
        return found
    except ImportError as error:
        package = PACKAGES.get(scheme, "a package of fsspec")
        raise MissingPackageError(f"{scheme}:// needs {package}: pip install {package}") from error
    except ValueError as error:
        raise StorageError(f"{url}: there is no storage called {scheme}:// ({_reason(error)})") from error


def _attempt(url: str, work: Callable[[Any, str], T]) -> T:
    """Does something with the file system and path of a URL, a few times if the storage does not answer."""
    system, path = _system(url)
    attempt = 1
    while True:
        try:
            return work(system, path)
        except MISSING as error:
            raise type(error)(f"{url}: {_reason(error)}") from error
        except Exception as error:  # of any client library
            if attempt == ATTEMPTS:
                raise StorageError(f"{url}: the storage does not answer ({_reason(error)})") from error
        time.sleep(WAIT_S * 2 ** (attempt - 1))
        attempt += 1


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())[:200]
