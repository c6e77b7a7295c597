"""Checks a dataset: all files against their hashes, streams for impossible values, and what is computed from them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ....core.errors import DatasetError
from ....core.files import file_sha256
from ....tokenizers.base import STREAMS
from ..audio.find import find_audio
from .read import DATASET_FILE, LatentDataset
from .shard import FILE_HASH, REPAIR, ShardFile
from .statistics import latent_statistics

BLOCK_ROWS = 65536  # frames worked on at once
INDEX_FILE = "index.parquet"
REBUILD = "delete it and run encode again to rebuild it"


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
    for done, shard in enumerate(dataset.shards, start=1):
        entry = recorded.get(shard.path.name)
        if entry is not None and file_sha256(shard.path) != entry["sha256"]:
            problems.append(f"shard {shard.path} does not have the recorded hash: {REPAIR}")
        problems += _content_problems(shard, dataset)
        if progress is not None:
            progress(done, len(dataset.shards))
    return [*problems, *_index_problems(dataset), *_file_problems(dataset), *_recorded_problems(dataset)]


def compare_with_source(path: str | Path, source: str | Path) -> list[str]:
    """Returns the differences between a dataset and its source, one line each, by the content of the files.

    Args:
        path: of the dataset.
        source: the audio as it is now, as of `find_audio`.

    Raises:
        DatasetError: the dataset cannot be opened.
        FileNotFoundError, ValueError: no such source, or nothing in it.
    """
    dataset, source = LatentDataset(path), Path(source).expanduser()
    there = {item.name: item.path for item in find_audio(source) if not item.problem}
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


def _hash_or_none(path: Path) -> str | None:
    try:
        return file_sha256(path)
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
    try:
        for row in range(shard.num_items):
            shard.meta(row)
    except DatasetError as error:
        problems.append(str(error))
    return problems


def _index_problems(dataset: LatentDataset) -> list[str]:
    if not dataset.complete:
        return []
    import pyarrow
    import pyarrow.parquet

    path = dataset.path / INDEX_FILE
    try:
        rows = pyarrow.parquet.read_table(path, columns=["shard", "row"]).num_rows
    except (OSError, pyarrow.ArrowException) as error:
        return [f"{path} is missing or corrupt ({' '.join(str(error).split())[:120]}): {REBUILD}"]
    if rows != len(dataset):
        return [f"{path} has {rows} rows, the shards have {len(dataset)} items: {REBUILD}"]
    recorded = dataset.info.get("files", {}).get(INDEX_FILE)
    if recorded is not None and file_sha256(path) != recorded:
        return [f"{path} does not have the recorded hash: {REBUILD}"]
    return []


def _file_problems(dataset: LatentDataset) -> list[str]:
    """Compares the files around the shards with the hashes that the dataset records."""
    problems = []
    for name, recorded in dataset.info.get("files", {}).items():
        path = dataset.path / name
        if not path.is_file():
            problems.append(f"{path} is missing: {REBUILD}")
        elif name != INDEX_FILE and file_sha256(path) != recorded:
            problems.append(f"{path} does not have the recorded hash: {REBUILD}")
    return problems


def _recorded_problems(dataset: LatentDataset) -> list[str]:
    """Computes statistics and totals again from the shards, and compares them with those that are recorded."""
    if not dataset.complete:
        return []
    info, path = dataset.info, dataset.path / DATASET_FILE
    problems = []
    for name, found in zip(("latent_mean", "latent_std"), latent_statistics(dataset.shards), strict=True):
        if not np.allclose(info[name], found, rtol=1e-6, atol=1e-9):
            problems.append(f"{path}: {name} is not that of the shards: {REBUILD}")
    totals = {"num_items": sum(shard.num_items for shard in dataset.shards)}
    for stream in STREAMS:
        totals[f"num_{stream}"] = sum(len(shard.array(stream)) for shard in dataset.shards if shard.has(stream))
    seconds = sum(meta["num_samples"] for meta in dataset.metas()) / dataset.spec.sample_rate
    for name, count in totals.items():
        if info["totals"].get(name) != count:
            problems.append(f"{path}: {name} is {info['totals'].get(name)}, the shards have {count}: {REBUILD}")
    if abs(info["totals"].get("duration_s", 0.0) - seconds) > 1e-6 * (1 + seconds):
        problems.append(f"{path}: duration_s is {info['totals'].get('duration_s')}, not {seconds}: {REBUILD}")
    return problems
