"""Checks a dataset: the bytes of every shard against its hash, and its streams for impossible values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ....core.errors import DatasetError
from ....core.files import file_sha256
from .read import LatentDataset
from .shard import REPAIR, ShardFile

BLOCK_ROWS = 65536  # frames worked on at once
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
    problems += _index_problems(dataset)
    return problems


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

    path = dataset.path / "index.parquet"
    try:
        rows = pyarrow.parquet.read_table(path, columns=["shard", "row"]).num_rows
    except (OSError, pyarrow.ArrowException) as error:
        return [f"{path} is missing or corrupt ({' '.join(str(error).split())[:120]}): {REBUILD}"]
    if rows != len(dataset):
        return [f"{path} has {rows} rows, the shards have {len(dataset)} items: {REBUILD}"]
    return []
