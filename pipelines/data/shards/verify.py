"""Checks a dataset: all files against their hashes, streams for impossible values, and what is computed from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ....core.errors import DatasetError
from ....core.files import file_sha256
from ..audio.find import find_audio
from ..audio.places import AudioPath, content_hash
from ..importers.pre_encoded import LatentSource
from .columns import ItemColumns
from .dataset_files import DATASET_FILE, DATASET_VERSION
from .index_table import INDEX_FILE, REBUILD, ShardColumns, index_totals, make_index
from .read import LatentDataset
from .shard import FILE_HASH, REPAIR, ShardFile
from .statistics import LatentStatistics

if TYPE_CHECKING:
    import pyarrow

BLOCK_ROWS = 65536  # frames worked on at once


def verify_dataset(path: str | Path, progress: Callable[[int, int], None] | None = None) -> list[str]:
    """Returns the problems of a dataset, one line each; the list is empty if the dataset is sound.

    Args:
        path: of the dataset.
        progress: called with the number of shards checked and of all shards.

    Raises:
        DatasetError: it cannot be opened at all.
    """
    dataset = LatentDataset(path)
    problems = [] if dataset.complete else [f"{path} is not complete: run encode again to finish it"]
    recorded = {entry["name"]: entry for entry in dataset.info.get("shards", [])}
    statistics, columns, corrupt = LatentStatistics(), [], []
    for done, shard in enumerate(dataset.shards, start=1):  # once through each file
        entry = recorded.get(shard.path.name)
        if entry is not None and file_sha256(shard.path) != entry["sha256"]:
            problems.append(f"shard {shard.path} does not have the recorded hash: {REPAIR}")
        try:
            problems += _content_problems(shard, dataset)
            statistics.add(shard)
            columns.append(ShardColumns.of(shard))
        except DatasetError as error:  # its offsets, or the metadata of an item
            corrupt.append(str(error))
        shard.unmap()
        if progress is not None:
            progress(done, len(dataset.shards))
    from .codec_check import codec_problems  # late: it brings the codecs, which a dataset can be read without

    problems += [*corrupt, *_file_problems(dataset), *codec_problems(dataset)]
    if corrupt or not dataset.complete:
        return problems
    table = make_index(columns)
    return [*problems, *_index_problems(dataset, table), *_recorded_problems(dataset, table, statistics)]


def compare_with_source(path: str | Path, source: str | Path) -> list[str]:
    """Returns the differences between a dataset and its source, one line each, by the content of the files.

    Args:
        path: of the dataset.
        source: the audio as it is now, as of `find_audio`, or the folder of latents that it was made of.

    Raises:
        DatasetError: the dataset cannot be opened.
        FileNotFoundError, ValueError: no such source, or nothing in it.
    """
    dataset = LatentDataset(path)
    of_latents = dataset.info["settings"].get("latents_are") is not None
    items = LatentSource(source, dataset.spec) if of_latents else find_audio(source)
    there = {item.name: item.path for item in items if not item.problem}
    known = {meta["path"]: meta[FILE_HASH] for meta in dataset.metas() if FILE_HASH in meta}
    failed = (dataset.path / "failed.jsonl").read_bytes().split(b"\n") if dataset.complete else []
    left_out = {json.loads(line)["path"] for line in failed if line}
    problems = [f"{name} is in {source}, but not in the dataset" for name in there.keys() - known.keys() - left_out]
    for name, recorded in known.items():
        if name not in there:
            problems.append(f"{name} is in the dataset, but not in {source}")
        elif _hash_or_none(there[name]) != recorded:
            problems.append(f"{name} has other content in {source} than in the dataset")
    return [f"{problem}: run encode again" for problem in sorted(problems)]


def _hash_or_none(path: AudioPath) -> str | None:
    try:
        return content_hash(path)
    except OSError:
        return None


def _content_problems(shard: ShardFile, dataset: LatentDataset) -> list[str]:
    spec, problems = dataset.spec, []
    if shard.header["fingerprint"] != dataset.fingerprint:
        problems.append(f"shard {shard.path} was made with another tokenizer than the dataset: {REPAIR}")
    if shard.has("latents"):
        latents = shard.array("latents")
        blocks = (latents[begin : begin + BLOCK_ROWS] for begin in range(0, len(latents), BLOCK_ROWS))
        if latents.shape[1] != spec.latent_dim or not all(np.isfinite(block).all() for block in blocks):
            problems.append(f"shard {shard.path} holds latents of a wrong width, or NaN or inf: {REPAIR}")
    if shard.has("tokens"):
        tokens = shard.array("tokens")
        if tokens.shape[1] != spec.tokens_per_frame or (len(tokens) and (tokens.max(0) >= spec.codebook_sizes).any()):
            problems.append(f"shard {shard.path} holds tokens of a wrong width or out of range: {REPAIR}")
    return problems


def _index_problems(dataset: LatentDataset, table: pyarrow.Table) -> list[str]:
    """Compares the index with the columns of the shards."""
    import pyarrow.parquet

    path = dataset.path / INDEX_FILE
    try:
        columns = ItemColumns.of_file(path, dataset.info.get("files", {}).get(INDEX_FILE), table.num_rows)
        is_new = dataset.info["version"] >= DATASET_VERSION  # older ones had other rules for the types of columns
        same = not is_new or (len(columns) and pyarrow.parquet.read_table(path).equals(table))
    except (DatasetError, pyarrow.ArrowException) as error:
        return [str(error)]
    return [] if same else [f"{path} does not hold what the shards hold: {REBUILD}"]


def _file_problems(dataset: LatentDataset) -> list[str]:
    """Compares the files around the shards with the hashes that the dataset records."""
    problems = []
    for name, recorded in dataset.info.get("files", {}).items():
        path = dataset.path / name
        if name == INDEX_FILE:
            continue
        if not path.is_file():
            problems.append(f"{path} is missing: {REBUILD}")
        elif file_sha256(path) != recorded:
            problems.append(f"{path} does not have the recorded hash: {REBUILD}")
    return problems


def _recorded_problems(dataset: LatentDataset, table: pyarrow.Table, statistics: LatentStatistics) -> list[str]:
    """Compares statistics and totals of the shards with those that are recorded."""
    info, path = dataset.info, dataset.path / DATASET_FILE
    problems = []
    for name, found in zip(("latent_mean", "latent_std"), statistics.result(), strict=True):
        same = len(info[name]) == len(found) and np.allclose(info[name], found, rtol=1e-6, atol=1e-9)
        if not same:
            problems.append(f"{path}: {name} is not that of the shards: {REBUILD}")
    for name, total in index_totals(table, dataset.spec.sample_rate).items():
        there = info["totals"].get(name)
        if there is None or abs(there - total) > 1e-6 * (1 + total) * (name == "duration_s"):
            problems.append(f"{path}: {name} is {there}, the shards have {total}: {REBUILD}")
    return problems
