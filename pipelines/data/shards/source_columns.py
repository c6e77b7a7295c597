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
NUMBERS = {
    "start_s": "d",
    "duration_s": "d",
    "size": "q",
    "mtime_ns": "q",
    "before": "q",
    "first": "q",
    "num_samples": "q",
    "sample_rate": "q",
    "total_s": "d",
}


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
        self._numbers: dict[str, array[Any]] = {name: array(kind) for name, kind in NUMBERS.items()}

    def add(self, file: ProbedFile, metadata: str) -> None:
        """Adds a file and the JSON of its metadata."""
        state, numbers = file.state, self._numbers
        self._paths.append(state.path)
        self._metadata.append(metadata)
        self._reasons.append(file.reason or None)
        numbers["duration_s"].append(float("nan") if state.duration_s is None else state.duration_s)
        for name in ("start_s", "size", "mtime_ns"):
            numbers[name].append(getattr(state, name))
        for name in ("before", "first", "num_samples", "sample_rate", "total_s"):
            numbers[name].append(getattr(file, name))

    def finish(self) -> None:
        """Makes the columns; call it once, after the last file."""
        self.paths, self.metadata, self.reasons = (
            texts.column() for texts in (self._paths, self._metadata, self._reasons)
        )
        self.left_out: np.ndarray = self.reasons.is_valid().to_numpy(zero_copy_only=False)  # [F] bool

    def __getitem__(self, name: str) -> np.ndarray:
        """Returns a column [F] of numbers."""
        kind = NUMBERS[name]
        return np.frombuffer(self._numbers[name], np.float64 if kind == "d" else np.int64)

    def table(self, failed_ids: pyarrow.Array, digest: str) -> pyarrow.Table:
        """Returns the table of files of a plan.

        Args:
            failed_ids: [F] ids of the files that are left out.
            digest: of the source.
        """
        numbers = {name: self[name] for name in ("start_s", "duration_s", "size", "mtime_ns")}
        texts = {"path": self.paths, "reason": self.reasons, "failed_id": failed_ids}
        return make_table(FILE_TYPES, {**numbers, **texts}, {SOURCE_DIGEST: digest.encode()})
