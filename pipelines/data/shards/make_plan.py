"""Makes a plan: probes the files of a source, splits the long ones, and fills shards in order.

A later plan of the same dataset keeps the items of files that did not change, in the shards where they are.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from ....core.errors import AudioError
from ....core.read_ahead import read_ahead
from ....tokenizers.base import TokenizerSpec
from ..audio.item import AudioItem
from ..audio.read import AudioInfo
from .earlier import EarlierPlan
from .ids import UniqueIds, printable, relative_reason
from .plan import Failure, FileState, Plan, PlannedItem, token_bytes
from .progress import ProgressReport
from .settings import ShardSettings

PROBES_AHEAD = 64  # files


def make_plan(
    files: Sequence[AudioItem],
    spec: TokenizerSpec,
    settings: ShardSettings,
    *,
    earlier: EarlierPlan | None = None,
    num_threads: int = 2,
    report: ProgressReport | None = None,
) -> Plan:
    """Probes the files, splits the long ones, and fills shards in order.

    Args:
        files: the source.
        spec: of the codec.
        settings: of the dataset.
        earlier: the plan that the dataset has; files that did not change since keep their items and shards.
        num_threads: that probe files.
        report: counts the probed files.

    Returns:
        The items in the order of the shards, and the files that are left out with their reasons.
    """
    states = [FileState.of(file) for file in files]
    kept: Sequence[list[tuple[int, PlannedItem]] | None]
    kept = [None] * len(files) if earlier is None else earlier.unchanged(files, states, num_threads)
    ids = UniqueIds(file.name for file in files)
    old: list[tuple[int, PlannedItem]] = []  # with their places in the earlier plan
    new: list[PlannedItem] = []
    failures: list[Failure] = []
    probed = _probe_all([file for file, items in zip(files, kept, strict=True) if items is None], num_threads)
    for number, (file, items) in enumerate(zip(files, kept, strict=True)):
        if report is not None:
            report.advance(1)
        name = ids.of(file.name)
        if items is not None:
            old += [(place, _renamed(item, file, number, name, len(items), ids)) for place, item in items]
            continue
        try:
            new += _items_of(file, number, name, next(probed), settings, ids)
        except AudioError as error:
            reason = relative_reason(error, file.path, file.name)
            failures.append(Failure(id=printable(name), path=printable(file.name), reason=reason))
    kept_items = [item for _, item in sorted(old, key=lambda entry: entry[0])]
    first_shard = 0 if earlier is None else earlier.next_shard
    return Plan((*kept_items, *_fill_shards(new, spec, settings, first_shard)), tuple(failures), tuple(states))


def _renamed(item: PlannedItem, file: AudioItem, number: int, name: str, num_parts: int, ids: UniqueIds) -> PlannedItem:
    """Returns an item of an earlier plan with the id and the metadata that the source gives it now."""
    new_id = name if num_parts == 1 else ids.part(name, item.part)
    return replace(item, id=new_id, metadata=file.metadata, file=number)


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


def _fill_shards(
    items: Iterable[PlannedItem], spec: TokenizerSpec, settings: ShardSettings, first_shard: int
) -> Iterator[PlannedItem]:
    """Yields the items with the numbers of their shards. A shard holds at least one item."""
    shard, shard_bytes, shard_s = first_shard, 0.0, 0.0
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


def _try_probe(file: AudioItem) -> AudioInfo | str:
    if printable(file.name) != file.name:
        return "its name is not valid UTF-8: rename it"
    try:
        return file.probe()
    except AudioError as error:
        return relative_reason(error, file.path, file.name)


def _items_of(
    file: AudioItem, number: int, name: str, info: AudioInfo | str, settings: ShardSettings, ids: UniqueIds
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
            id=name if len(cuts) == 2 else ids.part(name, part),
            file=number,
            part=part,
            path=file.name,
            start_s=(first + start) / info.sample_rate,
            duration_s=(end - start) / info.sample_rate,
            total_s=info.duration_s,
            sample_rate=info.sample_rate,
            metadata=file.metadata,
        )
        for part, (start, end) in enumerate(pairwise(cuts))
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
