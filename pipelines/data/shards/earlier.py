"""The plan that a dataset has, compared with its source as it is now."""

from __future__ import annotations

import math
import threading
from collections import Counter
from pathlib import Path

import numpy as np

from ..audio.item import AudioItem
from ..audio.places import content_hash
from .ids import printable
from .plan import Plan
from .shard import FILE_HASH, ShardFile, shard_name
from .source_state import FileState

Key = tuple[str, float, float]  # path, start and duration of a file or segment


class EarlierPlan:
    """The plan that a dataset has.

    Args:
        folder: of the dataset.
        plan: of its last run.
        next_shard: number that no shard of it ever had.
    """

    def __init__(self, folder: Path, plan: Plan, next_shard: int):
        self.plan, self.next_shard, self._folder = plan, next_shard, folder
        self.items = plan.items
        files = plan.files
        self._sizes, self._mtimes_ns = (files[name].to_numpy() for name in ("size", "mtime_ns"))
        self._seen_now: Counter[Key] = Counter()
        seen: Counter[Key] = Counter()
        self._numbers: dict[tuple[Key, int], int] = {}
        names = (files[name].to_pylist() for name in ("path", "start_s", "duration_s"))
        for number, facts in enumerate(zip(*names, strict=True)):
            key = _key(*facts)
            self._numbers[key, seen[key]] = number
            seen[key] += 1
        owners, parts = self.items["file"].to_numpy(), self.items["part"].to_numpy()
        self._order = np.lexsort((parts, owners))  # rows of the items, file by file
        self._starts = np.searchsorted(owners[self._order], np.arange(len(self._sizes) + 1))
        self._hashes: dict[int, dict[tuple[str, float], str]] = {}  # shard -> (path, start) -> hash of the file
        self._lock = threading.Lock()

    def number_of(self, file: AudioItem) -> int:
        """Returns the number that a file had, by its path, its segment, and how often this was asked for; -1: none.

        Call it once per file of the source, in order.
        """
        key = _key(printable(file.name), file.start_s, file.duration_s)
        number = self._numbers.get((key, self._seen_now[key]), -1)
        self._seen_now[key] += 1
        return number if number >= 0 and len(self.rows_of(number)) else -1

    def rows_of(self, number: int) -> np.ndarray:
        """Returns the rows of the items of a file in the table of items, part after part."""
        rows: np.ndarray = self._order[self._starts[number] : self._starts[number + 1]]
        return rows

    def rows_of_all(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns `rows_of` of several files, one after another, and the place of each row's file in `numbers`."""
        begins, counts = self._starts[numbers], self._starts[numbers + 1] - self._starts[numbers]
        owners = np.repeat(np.arange(len(numbers)), counts)
        within = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._order[begins[owners] + within], owners

    def is_same(self, number: int, file: AudioItem, now: FileState) -> bool:
        """Returns whether a file did not change: size and time of modification are the same, or size and content.

        Args:
            number: that it had.
            file: of the source.
            now: its state.
        """
        if self._sizes[number] != now.size:
            return False
        if self._mtimes_ns[number] == now.mtime_ns:
            return True
        recorded = self._recorded_hash(int(self.rows_of(number)[0]))
        try:
            return bool(recorded) and content_hash(file.path) == recorded
        except OSError:
            return False

    def _recorded_hash(self, row: int) -> str:
        """Returns the hash of the file's content that its first item holds, empty if it was not encoded."""
        number, path, start_s = (self.items[name][row].as_py() for name in ("shard", "path", "start_s"))
        with self._lock:
            if number not in self._hashes:
                file = self._folder / "shards" / shard_name(number)
                metas = ShardFile(file).metas() if file.exists() else []
                self._hashes[number] = {(m["path"], m["start_s"]): m.get(FILE_HASH, "") for m in metas}
            return self._hashes[number].get((path, start_s), "")


def _key(path: str, start_s: float, duration_s: float | None) -> Key:
    return path, start_s, -1.0 if duration_s is None or math.isnan(duration_s) else duration_s
