"""The facts about all files of a source, column by column: some hundred bytes a file, and no objects.

Shape letters: F files.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from .plan import FILE_TYPES, SOURCE_DIGEST, make_table
from .probe import ProbedFile

if TYPE_CHECKING:
    import pyarrow

ROWS_AT_ONCE = 65536  # texts that are Python objects
SECONDS = ("start_s", "duration_s", "total_s")
COUNTS = ("size", "mtime_ns", "before", "first", "num_samples", "sample_rate")


class _Texts:
    """A column of texts that is filled one by one."""

    def __init__(self) -> None:
        self._rows: list[str | None] = []
        self._chunks: list[Any] = []

    def append(self, text: str | None) -> None:
        self._rows.append(text)
        if len(self._rows) == ROWS_AT_ONCE:
            self._flush()

    def column(self) -> pyarrow.LargeStringArray:
        """Returns all of them."""
        import pyarrow

        self._flush()
        return pyarrow.concat_arrays(self._chunks)

    def _flush(self) -> None:
        import pyarrow

        self._chunks.append(pyarrow.array(self._rows, pyarrow.large_string()))
        self._rows = []


class SourceColumns:
    """Takes the probed files one by one."""

    def __init__(self) -> None:
        self._paths, self._metadata, self._reasons = _Texts(), _Texts(), _Texts()
        self._seconds, self._counts = array("d"), array("q")  # row after row

    def add(self, file: ProbedFile, metadata: str) -> None:
        """Adds a file and the JSON of its metadata."""
        path, start_s, duration_s, size, mtime_ns = file.state
        self._paths.append(path)
        self._metadata.append(metadata)
        self._reasons.append(file.reason or None)
        self._seconds.extend((start_s, float("nan") if duration_s is None else duration_s, file.total_s))
        self._counts.extend((size, mtime_ns, file.before, file.first, file.num_samples, file.sample_rate))

    def finish(self) -> None:
        """Makes the columns; call it once, after the last file."""
        self.paths, self.metadata, self.reasons = (
            texts.column() for texts in (self._paths, self._metadata, self._reasons)
        )
        self.left_out: np.ndarray = self.reasons.is_valid().to_numpy(zero_copy_only=False)  # [F] bool

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns a column [F] of numbers."""
        if name in SECONDS:
            return np.frombuffer(self._seconds, np.float64)[SECONDS.index(name) :: len(SECONDS)]
        return np.frombuffer(self._counts, np.int64)[COUNTS.index(name) :: len(COUNTS)]

    def table(self, failed_ids: pyarrow.Array, digest: str) -> pyarrow.Table:
        """Returns the table of files of a plan.

        Args:
            failed_ids: [F] ids of the files that are left out.
            digest: of the source.
        """
        numbers = {name: self[name] for name in ("start_s", "duration_s", "size", "mtime_ns")}
        texts = {"path": self.paths, "reason": self.reasons, "failed_id": failed_ids}
        return make_table(FILE_TYPES, {**numbers, **texts}, {SOURCE_DIGEST: digest.encode()})
