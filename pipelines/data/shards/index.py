"""Completes a dataset: index, list of failures, statistics and totals, all made from the plan and the shards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....core.files import file_sha256, write_json, write_text
from ....core.leftovers import is_abandoned
from .dataset_files import DATASET_FILE, SILENCE_FILE
from .index_table import INDEX_FILE, ShardColumns, index_totals, make_index, write_index
from .plan import Failure, Plan
from .shard import SHARD_FILE, ShardFile
from .statistics import LatentStatistics

PLAN_FILE = re.compile(r"^(plan(\.\d+)?\.jsonl|(plan|sources)(\.\d+)?\.parquet)$")


def finalise(folder: Path, info: Mapping[str, Any], plan: Plan, shards: Sequence[ShardFile]) -> dict[str, Any]:
    """Writes `failed.jsonl`, `index.parquet` and the final `dataset.json`.

    It is idempotent and writes no times or host names, so that the same dataset always has the same bytes.

    Args:
        folder: of the dataset.
        info: contents of `dataset.json` so far.
        plan: of the dataset.
        shards: all of them.

    Returns:
        The contents of `dataset.json`.
    """
    failures = list(plan.failures)
    statistics, entries, parts = LatentStatistics(), [], []
    for shard in shards:  # once through each file
        failures += shard.failures
        statistics.add(shard)
        parts.append(ShardColumns.of(shard))
        entries.append(
            {
                "name": shard.path.name,
                "num_items": shard.num_items,
                "bytes": shard.path.stat().st_size,
                "content": shard.header["content"],
                "sha256": file_sha256(shard.path),
            }
        )
        shard.unmap()
    write_text(folder / "failed.jsonl", "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in failures))
    table = make_index(parts)
    write_index(folder / INDEX_FILE, table)
    mean, std = statistics.result()
    final = {
        **info,
        "complete": True,
        "totals": {
            **index_totals(table, info["tokenizer"]["spec"]["sample_rate"]),
            "num_failed": len(failures),
        },
        "latent_mean": list(mean),
        "latent_std": list(std),
        "shards": entries,
    }
    named = (final["plan"]["file"], final["plan"]["sources"], "failed.jsonl", INDEX_FILE, SILENCE_FILE)
    final["files"] = {name: file_sha256(folder / name) for name in named if (folder / name).is_file()}
    remove_leftovers(folder, final)
    write_json(folder / DATASET_FILE, final)
    return final


def is_finalised(folder: Path) -> bool:
    """Returns whether the files that `finalise` writes in addition to `dataset.json` are there."""
    return (folder / INDEX_FILE).exists() and (folder / "failed.jsonl").exists()


def all_failures(plan: Plan, shards: Sequence[ShardFile]) -> list[Failure]:
    """Returns the items that failed to be probed, then those that failed to be encoded, each in the plan's order."""
    return [*plan.failures, *(failure for shard in shards for failure in shard.failures)]


def remove_leftovers(folder: Path, info: Mapping[str, Any]) -> None:
    """Removes temporary files of processes that have ended, and the plans and shards of earlier generations.

    Call it only after all shards are committed.

    Args:
        folder: of the dataset.
        info: contents of `dataset.json`.
    """
    shards = {shard["name"] for shard in info["shards"]}
    for path in [*folder.iterdir(), *(folder / "shards").iterdir()]:
        old_plan = PLAN_FILE.match(path.name) and path.name not in info["files"]
        old_shard = SHARD_FILE.match(path.name) and path.parent != folder and path.name not in shards
        if is_abandoned(path) or old_plan or old_shard:
            path.unlink(missing_ok=True)
