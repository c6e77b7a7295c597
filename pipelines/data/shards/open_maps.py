"""How many files are mapped at once: a map holds a file open, and a process may only have so many."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Protocol

SHARE = 4  # of the files that this process may open, one in so many is a map
MOST, FEWEST = 4096, 8


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


def most_maps() -> int:
    """Returns the number of maps that may be open at once, by the limit of this process for open files."""
    try:
        import resource
    except ImportError:  # Windows, where a map does not count as an open file
        return MOST
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if limit == resource.RLIM_INFINITY else max(FEWEST, min(MOST, limit // SHARE))


open_maps = OpenMaps()
