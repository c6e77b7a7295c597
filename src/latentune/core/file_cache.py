"""A bounded folder of temporary files that stand for files elsewhere: made when needed, removed when long unused."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_BYTES = 4 * 10**9  # of files that nobody uses at the moment


@dataclass
class _Entry:
    path: Path
    users: int = 0
    size: int = -1  # -1: not made yet
    lock: threading.Lock = field(default_factory=threading.Lock)


class FileCache:
    """Files that are made once and kept while they are used, and after that as long as there is room.

    Threads may use it at once; a process has its own.

    Args:
        limit_bytes: of files that nobody uses.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES):
        self.limit_bytes = limit_bytes
        self._entries: dict[Hashable, _Entry] = {}  # the one that was used longest ago first
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._pid = os.getpid()
        self._count = 0

    @contextmanager
    def lease(self, key: Hashable, suffix: str, make: Callable[[Path], None]) -> Iterator[Path]:
        """Yields the path of a file, which exists as long as the context.

        Args:
            key: identity of the file.
            suffix: of the name of the temporary file.
            make: writes it to a path, if it is not there.
        """
        entry = self._take(key, suffix)
        try:
            with entry.lock:
                if entry.size < 0:
                    make(entry.path)
                    entry.size = entry.path.stat().st_size
            yield entry.path
        finally:
            self._give_back(key, entry)

    def _take(self, key: Hashable, suffix: str) -> _Entry:
        with self._lock:
            if self._pid != os.getpid():  # a forked process does not share the files of its parent
                self._entries, self._folder, self._pid = {}, None, os.getpid()
            entry = self._entries.pop(key, None) or _Entry(self._new_path(suffix))
            entry.users += 1
            self._entries[key] = entry
            return entry

    def _give_back(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            if entry.size < 0 and not entry.users:
                self._entries.pop(key, None)
            unused = {key: entry for key, entry in self._entries.items() if not entry.users}
            total = sum(entry.size for entry in unused.values())
            for old, other in unused.items():
                if total <= self.limit_bytes:
                    break
                total -= other.size
                del self._entries[old]
                other.path.unlink(missing_ok=True)

    def _new_path(self, suffix: str) -> Path:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="latentune-files-"))
            atexit.register(shutil.rmtree, self._folder, ignore_errors=True)
        self._count += 1
        return self._folder / f"{self._count}{suffix}"
