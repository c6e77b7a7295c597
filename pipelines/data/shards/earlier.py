"""The plan that a dataset has, compared with its source as it is now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from ....core.files import file_sha256
from ....core.read_ahead import read_ahead
from ..audio.item import AudioItem
from .plan import FileState, Plan, PlannedItem
from .shard import FILE_HASH, ShardFile, shard_name

HASHES_AHEAD = 4  # files
Placed = list[tuple[int, PlannedItem]]  # items of one file, with their places in the plan


class EarlierPlan:
    """The plan that a dataset has.

    Args:
        folder: of the dataset.
        plan: of its last run.
        next_shard: number that no shard of it ever had.
    """

    def __init__(self, folder: Path, plan: Plan, next_shard: int):
        self.plan, self.next_shard, self._folder = plan, next_shard, folder
        self._hashes: dict[int, dict[tuple[str, float], str]] = {}  # shard -> (path, start) -> hash of the file

    def unchanged(
        self, files: Sequence[AudioItem], states: Sequence[FileState], num_threads: int
    ) -> list[Placed | None]:
        """Returns the items of each file that is the same as before, None for a file that is new or changed.

        A file is the same if its size and time of modification are, or its size and its content.

        Args:
            files: the source as it is now.
            states: of these files.
            num_threads: that read files whose time of modification changed.

        Returns:
            One entry per file.
        """
        known, seen = self._known(), Counter[tuple[str, float, float | None]]()
        found: list[Placed | None] = []
        touched: list[tuple[int, Path, str]] = []  # place in `files`, path, hash of the content before
        for number, (file, now) in enumerate(zip(files, states, strict=True)):
            key = (now.path, now.start_s, now.duration_s)
            before, items = known.get((*key, seen[key]), (None, []))
            seen[key] += 1
            same_size = before is not None and bool(items) and before.size == now.size
            found.append(items if same_size else None)
            if same_size and before is not None and before.mtime_ns != now.mtime_ns:
                touched.append((number, file.path, self._recorded_hash(items[0][1])))
        with closing(
            read_ahead(_has_hash, touched, num_threads=num_threads, num_ahead=HASHES_AHEAD * num_threads)
        ) as checked:
            for (number, _, _), same in zip(touched, checked, strict=True):
                if not same:
                    found[number] = None
        return found

    def _known(self) -> dict[tuple[str, float, float | None, int], tuple[FileState, Placed]]:
        """Returns state and items of each file, by path, segment, and how often this was there before."""
        items: dict[int, Placed] = defaultdict(list)
        for place, item in enumerate(self.plan.items):
            items[item.file].append((place, item))
        seen = Counter[tuple[str, float, float | None]]()
        known = {}
        for number, state in enumerate(self.plan.files):
            key = (state.path, state.start_s, state.duration_s)
            known[(*key, seen[key])] = (state, sorted(items[number], key=lambda entry: entry[1].part))
            seen[key] += 1
        return known

    def _recorded_hash(self, first: PlannedItem) -> str:
        """Returns the hash of the file's content that its first item holds, empty if it was not encoded."""
        if first.shard not in self._hashes:
            path = self._folder / "shards" / shard_name(first.shard)
            shard = ShardFile(path) if path.exists() else None
            metas = () if shard is None else (shard.meta(row) for row in range(shard.num_items))
            self._hashes[first.shard] = {(m["path"], m["start_s"]): m.get(FILE_HASH, "") for m in metas}
        return self._hashes[first.shard].get((first.path, first.start_s), "")


def _has_hash(touched: tuple[int, Path, str]) -> bool:
    _, path, recorded = touched
    try:
        return bool(recorded) and file_sha256(path) == recorded
    except OSError:
        return False
