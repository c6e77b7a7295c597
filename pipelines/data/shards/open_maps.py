"""How many files are mapped at once: a map can hold a file open, and a process may only have so many."""

from __future__ import annotations

import mmap
import sys
import threading
import weakref
from collections import deque
from typing import Protocol

SHARE = 4  # of the files that this process may open, one in so many is a map
MOST, FEWEST = 16384, 8  # Linux allows 65,530 maps by default


class Mapped(Protocol):
    """Anything that has a map, and can do without for a while."""

    def unmap(self) -> None:
        """Drops the map; it is closed when the last view of it is gone."""
        ...


class OpenMaps:
    """Those that have a map now, of which the first are closed when there are too many."""

    def __init__(self) -> None:
        self._open: deque[weakref.ref[Mapped]] = deque()
        self._lock = threading.Lock()

    def add(self, one: Mapped) -> None:
        """Counts a map that was opened."""
        with self._lock:
            if len(self._open) >= most_maps():
                self._open = deque(ref for ref in self._open if ref() is not None)
            while len(self._open) >= most_maps():
                if (first := self._open.popleft()()) is not None:
                    first.unmap()
            self._open.append(weakref.ref(one))


def map_file(descriptor: int) -> mmap.mmap:
    """Maps a whole file for reading. Before Python 3.13, the map holds the file open."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ, trackfd=False)
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def most_maps() -> int:
    """Returns the number of maps that may be open at once, by the limit of this process for open files."""
    if sys.version_info >= (3, 13):
        return MOST
    try:
        import resource
    except ImportError:  # Windows, where a map does not count as an open file
        return MOST
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if limit == resource.RLIM_INFINITY else max(FEWEST, min(MOST, limit // SHARE))


open_maps = OpenMaps()
