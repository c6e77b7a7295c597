"""The plan: which part of which file goes to which shard. It depends only on the source and the settings."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from ....core.errors import AudioError, DatasetError
from ....core.files import write_text
from ....core.read_ahead import read_ahead
from ....tokenizers.base import TokenizerSpec
from ..audio.item import AudioItem
from ..audio.read import AudioInfo
from .progress import ProgressReport
from .settings import ShardSettings

PROBES_AHEAD = 64  # files


@dataclass(frozen=True, kw_only=True)
class PlannedItem:
    """One item to encode: a file, or a part of a long one."""

    shard: int
    id: str  # unique in the dataset
    path: str  # relative to the source
    start_s: float  # in the file
    duration_s: float
    total_s: float  # of the whole file
    sample_rate: int  # Hz, of the file
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An item or file that was left out, and the reason."""

    id: str
    path: str  # relative to the source
    reason: str


@dataclass(frozen=True)
class Plan:
    """All items in order, shard after shard, and the files that are known to fail."""

    items: tuple[PlannedItem, ...]
    failures: tuple[Failure, ...]

    @property
    def num_shards(self) -> int:
        return self.items[-1].shard + 1 if self.items else 0

    @property
    def duration_s(self) -> float:
        return sum(item.duration_s for item in self.items)

    def shards(self) -> Iterator[tuple[int, list[PlannedItem]]]:
        """Yields number and items of each shard."""
        for number, items in groupby(self.items, key=lambda item: item.shard):
            yield number, list(items)

    def to_text(self) -> str:
        """Returns the lines of `plan.jsonl`."""
        rows: list[PlannedItem | Failure] = [*self.items, *self.failures]
        return "".join(json.dumps(asdict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)

    def write(self, path: Path) -> None:
        """Writes `plan.jsonl`, atomically."""
        write_text(path, self.to_text())

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Reads `plan.jsonl`; raises DatasetError if it is missing or broken."""
        try:
            rows = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
            items = tuple(PlannedItem(**row) for row in rows if "shard" in row)
            failures = tuple(Failure(**row) for row in rows if "shard" not in row)
        except (OSError, ValueError, TypeError) as error:
            raise DatasetError(f"{path} cannot be read ({error}): delete the folder and encode again") from error
        return cls(items, failures)


def source_digest(items: Iterable[AudioItem]) -> str:
    """Returns a hex SHA-256 of names, sizes and metadata, which changes when files are added, removed or rewritten."""
    digest = hashlib.sha256()
    for item in items:
        try:
            size = item.path.stat().st_size
        except (OSError, ValueError):  # ValueError: a name with NUL
            size = -1
        facts = [item.name, size, item.start_s, item.duration_s, item.metadata]
        digest.update(json.dumps(facts, sort_keys=True).encode())
    return digest.hexdigest()


def make_plan(
    files: Sequence[AudioItem],
    spec: TokenizerSpec,
    settings: ShardSettings,
    *,
    num_threads: int = 2,
    report: ProgressReport | None = None,
) -> Plan:
    """Probes every file, splits the long ones, and fills shards in order.

    Args:
        files: the source.
        spec: of the codec.
        settings: of the dataset.
        num_threads: that probe files.
        report: counts the probed files.

    Returns:
        The items in the order of the shards, and the files that are left out with their reasons.
    """
    found: list[PlannedItem] = []
    failures: list[Failure] = []
    ids = UniqueIds(file.name for file in files)
    for file, info in zip(files, _probe_all(files, num_threads), strict=True):
        if report is not None:
            report.advance(1)
        name = ids.of(file.name)
        try:
            found += _items_of(file, name, info, settings, ids)
        except AudioError as error:
            reason = relative_reason(error, file.path, file.name)
            failures.append(Failure(id=printable(name), path=printable(file.name), reason=reason))
    return Plan(tuple(_fill_shards(found, spec, settings)), tuple(failures))


def _probe_all(files: Sequence[AudioItem], num_threads: int) -> Iterator[AudioInfo | str]:
    """Yields the facts about the file of each item, or why there are none. A file with several items is probed once."""
    uses = Counter(file.path for file in files)
    first = list({file.path: file for file in reversed(files) if not file.problem}.values())[::-1]
    known: dict[Path, AudioInfo | str] = {}
    with closing(read_ahead(_try_probe, first, num_threads=num_threads, num_ahead=PROBES_AHEAD)) as probed:
        upcoming = zip(first, probed, strict=False)
        for file in files:
            if file.problem:
                yield file.problem
                continue
            while file.path not in known:
                other, info = next(upcoming)
                known[other.path] = info
            uses[file.path] -= 1
            yield known[file.path] if uses[file.path] else known.pop(file.path)


def _fill_shards(items: Iterable[PlannedItem], spec: TokenizerSpec, settings: ShardSettings) -> Iterator[PlannedItem]:
    """Yields the items with the numbers of their shards. A shard holds at least one item."""
    shard, shard_bytes, shard_s = 0, 0.0, 0.0
    for item in items:
        size = item_bytes(item.duration_s, spec, settings)
        full = shard_bytes + size > settings.shard_mb * 1e6 or shard_s + item.duration_s > settings.shard_hours * 3600
        if full and shard_s > 0:
            shard, shard_bytes, shard_s = shard + 1, 0.0, 0.0
        shard_bytes, shard_s = shard_bytes + size, shard_s + item.duration_s
        yield replace(item, shard=shard)


def item_bytes(duration_s: float, spec: TokenizerSpec, settings: ShardSettings) -> int:
    """Returns the size of an item in a shard in bytes, without its metadata.

    Args:
        duration_s: of the item.
        spec: of the codec.
        settings: of the dataset.
    """
    num_samples = max(1, round(duration_s * spec.sample_rate))
    latents = spec.num_latents(num_samples) * spec.latent_dim * settings.latent_dtype.itemsize
    tokens = spec.num_tokens(num_samples) * spec.tokens_per_frame * token_bytes(spec)
    return latents * ("latents" in settings.streams) + tokens * ("tokens" in settings.streams)


def token_bytes(spec: TokenizerSpec) -> int:
    """Returns the bytes of the smallest unsigned integer that holds every token; 1 if there are no tokens."""
    largest = max(spec.codebook_sizes, default=1) - 1
    return next(size for size in (1, 2, 4, 8) if largest < 256**size)


def _try_probe(file: AudioItem) -> AudioInfo | str:
    if printable(file.name) != file.name:
        return "its name is not valid UTF-8: rename it"
    try:
        return file.probe()
    except AudioError as error:
        return relative_reason(error, file.path, file.name)


def printable(name: str) -> str:
    """Returns the name with bytes escaped that are not UTF-8: file systems allow them, JSON and parquet do not."""
    return name.encode(errors="backslashreplace").decode()


def relative_reason(error: Exception, path: Path, name: str) -> str:
    """Returns the text of an error without the full path of the file, so that it does not depend on the place of the
    source.

    Args:
        error: about the file.
        path: full path.
        name: relative path.
    """
    return " ".join(str(error).removeprefix(f"{path}: ").replace(str(path), name).split())


class UniqueIds:
    """Ids of items, of which no two are the same.

    A manifest may list a file several times, and a file may be called like an id that is made here.

    Args:
        names: of all files; the first file of a name has it as its id.
    """

    def __init__(self, names: Iterable[str]):
        self._names = frozenset(names)
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}

    def of(self, name: str) -> str:
        """Returns the name at its first use, then the name with ~2, ~3 and so on."""
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return self._take(name) if count == 1 else self._next(name, "~", count)

    def part(self, name: str, number: int) -> str:
        """Returns the id of a part of the file with the id `name`: name#0, name#1 and so on."""
        return self._next(name, "#", number)

    def _next(self, name: str, mark: str, number: int) -> str:
        candidate = f"{name}{mark}{number}"
        while candidate in self._names or candidate in self._used:
            name += mark
            candidate = f"{name}{number}"
        return self._take(candidate)

    def _take(self, name: str) -> str:
        self._used.add(name)
        return name


def _items_of(
    file: AudioItem, name: str, info: AudioInfo | str, settings: ShardSettings, ids: UniqueIds
) -> list[PlannedItem]:
    """Returns the items of one file or segment, with `shard` still 0; raises AudioError where there are none."""
    if isinstance(info, str):
        raise AudioError(info)
    start_s, duration_s = file.part(info.duration_s)
    if duration_s < settings.min_duration_s:
        raise AudioError(f"{duration_s:.3f} s is shorter than min_duration_s {settings.min_duration_s}")
    first = round(start_s * info.sample_rate)
    length = min(info.num_samples - first, max(1, round(duration_s * info.sample_rate)))
    cuts = split_points(length, info.sample_rate, settings.max_duration_s, settings.min_duration_s)
    return [
        PlannedItem(
            shard=0,
            id=name if len(cuts) == 2 else ids.part(name, number),
            path=file.name,
            start_s=(first + start) / info.sample_rate,
            duration_s=(end - start) / info.sample_rate,
            total_s=info.duration_s,
            sample_rate=info.sample_rate,
            metadata=file.metadata,
        )
        for number, (start, end) in enumerate(pairwise(cuts))
    ]


def split_points(num_samples: int, sample_rate: int, max_duration_s: float, min_duration_s: float) -> list[int]:
    """Returns where to cut a file, in samples, from 0 to the end.

    All parts but the last have the greatest length. If the last one is too short to stand alone, it shares its length
    evenly with the part before it, so that nothing is left out.

    Args:
        num_samples: of the file.
        sample_rate: in Hz.
        max_duration_s: greatest length of a part.
        min_duration_s: least length of a part.
    """
    longest = max(1, math.floor(max_duration_s * sample_rate))
    cuts = [*range(0, num_samples, longest), num_samples]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] < min_duration_s * sample_rate:
        cuts[-2] = (cuts[-3] + cuts[-1]) // 2
    return cuts
