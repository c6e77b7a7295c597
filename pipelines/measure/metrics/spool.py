"""Embeddings on disk while they are gathered, so that memory does not grow with the number of files.

Shape letters: n embeddings of all files, W of one, D their width.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np


class Spool:
    """Rows of files, appended to a nameless file on disk and then mapped into memory."""

    def __init__(self, folder: str | Path | None = None):
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 `close` or `mapped` ends it
        self._width: int | None = None
        self.num = 0

    def add(self, rows: np.ndarray) -> None:
        """Append rows [W, D]."""
        self._width = rows.shape[1]
        self._file.write(np.ascontiguousarray(rows, np.float32).data)
        self.num += len(rows)

    def mapped(self) -> np.ndarray | None:
        """All rows [n, D], or None where there are none. The space on disk is free again when the array is."""
        with self._file:
            if self._width is None or not self.num:
                return None
            self._file.flush()
            return np.memmap(self._file, np.float32, "r", shape=(self.num, self._width))

    def close(self) -> None:
        """Let go of the file; what was mapped stays."""
        self._file.close()
