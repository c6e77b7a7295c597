"""Makes a plan: probes the files of a source, splits the long ones, and fills shards in order.

A later plan of the same dataset keeps the items of files that did not change, in the shards where they are. Shape
letters: F files, N items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from ....tokenizers.spec import TokenizerSpec
from ..audio.item import AudioItem
from .earlier import EarlierPlan
from .ids import name_items
from .plan import ITEM_TYPES, Plan, digest_shards, json_text, make_table, token_bytes
from .probe import probe_files
from .progress import ProgressReport
from .settings import ShardSettings
from .source_columns import SourceColumns
from .source_state import SourceDigest

SHARD_HOURS = 4.0  # by default, and more where the dataset would have more shards than
MANY_SHARDS = 256

Columns = dict[str, np.ndarray]  # [N] each


def make_plan(
    files: Iterable[AudioItem],
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
        The items in the order of the shards, and the files, with the reasons of those that are left out.
    """
    source, digest = SourceColumns(), SourceDigest()
    for file in probe_files(files, settings, earlier, num_threads):
        metadata = json_text(file.item.metadata)
        digest.add(file.state, metadata)
        source.add(file, metadata)
        if report is not None:
            report.advance(1)
    source.finish()
    new, kept = _new_items(source, settings), _kept_items(source, earlier)
    items = {name: np.concatenate([kept[name], new[name]]) for name in new}
    items["shard"][len(kept["shard"]) :] = _fill_shards(new["duration_s"], items["duration_s"], spec, settings, earlier)
    ids, failed_ids = name_items(source.paths, source.left_out, items["file"], items["part"])
    paths, metadata = (column.take(items["file"]) for column in (source.paths, source.metadata))
    table = make_table(ITEM_TYPES, {**items, "id": ids, "path": paths, "metadata": metadata})
    table = table.replace_schema_metadata(digest_shards(items["shard"], table))
    return Plan(table, source.table(failed_ids, digest.hexdigest()))


def _new_items(source: SourceColumns, settings: ShardSettings) -> Columns:
    """Returns the items of the files that are new or changed, file by file, with `shard` still -1."""
    files = np.flatnonzero((source["before"] < 0) & ~source.left_out)
    num_samples, rates = source["num_samples"][files], source["sample_rate"][files]
    longest_s = settings.max_duration_s if settings.latents_are is None else math.inf
    owners, parts, begins, ends = cut_parts(num_samples, rates, longest_s, settings.min_duration_s)
    files, rates = files[owners], rates[owners]
    return {
        "shard": np.full(len(files), -1),
        "start_s": (source["first"][files] + begins) / rates,
        "duration_s": (ends - begins) / rates,
        "total_s": source["total_s"][files],
        "sample_rate": rates,
        "file": files,
        "part": parts,
    }


def _kept_items(source: SourceColumns, earlier: EarlierPlan | None) -> Columns:
    """Returns the items of the files that did not change, in the order of the earlier plan."""
    names = [name for name, kind in ITEM_TYPES.items() if kind != "large_string"]
    if earlier is None:
        return {name: np.zeros(0, ITEM_TYPES[name]) for name in names}
    files = np.flatnonzero(source["before"] >= 0)
    rows, owners = earlier.rows_of_all(source["before"][files])
    order = np.argsort(rows)
    items = {name: earlier.items[name].to_numpy()[rows[order]] for name in names}
    return {**items, "file": files[owners[order]]}


def cut_parts(
    num_samples: np.ndarray, sample_rates: np.ndarray, max_duration_s: float, min_duration_s: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cuts files into parts.

    All parts of a file but the last have the greatest length. If the last one is too short to stand alone, it shares
    its length evenly with the part before it, so that nothing is left out.

    Args:
        num_samples: [F] of the files.
        sample_rates: [F] in Hz.
        max_duration_s: greatest length of a part; inf leaves files whole.
        min_duration_s: least length of a part.

    Returns:
        [N] each, file by file: the place of a part's file, its number in the file, and its first and last + 1 sample.
    """
    longest = np.maximum(1, np.floor(np.minimum(max_duration_s * sample_rates, num_samples)).astype(np.int64))
    counts = -(-num_samples // longest)
    owners = np.repeat(np.arange(len(counts)), counts)
    parts = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    length, size, last = longest[owners], num_samples[owners], counts[owners] - 1
    begins, ends = parts * length, np.minimum((parts + 1) * length, size)
    shared = (last > 0) & (size - last * length < min_duration_s * sample_rates[owners])
    middle = ((last - 1) * length + size) // 2
    begins = np.where(shared & (parts == last), middle, begins)
    ends = np.where(shared & (parts == last - 1), middle, ends)
    return owners, parts, begins, ends


def _fill_shards(
    durations_s: np.ndarray,
    all_durations_s: np.ndarray,
    spec: TokenizerSpec,
    settings: ShardSettings,
    earlier: EarlierPlan | None,
) -> np.ndarray:
    """Returns the shards of new items, in order. A shard holds at least one item."""
    most_bytes = settings.shard_mb * 1e6
    if settings.shard_hours is None:  # few shards for a small dataset would leave processes without work
        most_s = max(SHARD_HOURS * 3600, float(all_durations_s.sum()) / MANY_SHARDS)
    else:
        most_s = settings.shard_hours * 3600
    lengths, places = np.unique(durations_s, return_inverse=True)
    sizes = np.array([item_bytes(length, spec, settings) for length in lengths.tolist()], np.int64)[places]
    shard, shard_bytes, shard_s = 0 if earlier is None else earlier.next_shard, 0, 0.0
    shards = []
    for size, duration_s in zip(sizes.tolist(), durations_s.tolist(), strict=True):
        full = shard_bytes + size > most_bytes or shard_s + duration_s > most_s
        if full and shard_s > 0:
            shard, shard_bytes, shard_s = shard + 1, 0, 0.0
        shard_bytes, shard_s = shard_bytes + size, shard_s + duration_s
        shards.append(shard)
    return np.array(shards, np.int64)


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
