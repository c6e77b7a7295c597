"""Completes a dataset: index, list of failures, statistics and totals, all made from the plan and the shards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....core.files import atomic_path, file_sha256, write_json, write_text
from .plan import Failure, Plan
from .read import DATASET_FILE, SILENCE_FILE
from .shard import SHARD_FILE, ShardFile
from .statistics import latent_statistics

PLAN_FILE = re.compile(r"^plan(\.\d+)?\.jsonl$")
LEFTOVER = re.compile(r"^\..*\.\d+\.part(\.[a-z]+)?$")  # the temporary names of `atomic_path`


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
    failures = all_failures(plan, shards)
    write_text(folder / "failed.jsonl", "".join(json.dumps(asdict(f), ensure_ascii=False) + "\n" for f in failures))
    rows = index_rows(shards)
    write_index(folder / "index.parquet", rows)
    mean, std = latent_statistics(shards)
    final = {
        **info,
        "complete": True,
        "totals": {
            "num_items": len(rows),
            "num_failed": len(failures),
            "duration_s": sum(row["num_samples"] for row in rows) / info["tokenizer"]["spec"]["sample_rate"],
            "num_latents": sum(row["num_latents"] for row in rows),
            "num_tokens": sum(row["num_tokens"] for row in rows),
        },
        "latent_mean": list(mean),
        "latent_std": list(std),
        "shards": [
            {
                "name": shard.path.name,
                "num_items": shard.num_items,
                "bytes": shard.path.stat().st_size,
                "content": shard.header["content"],
                "sha256": file_sha256(shard.path),
            }
            for shard in shards
        ],
    }
    named = (final["plan"]["file"], "failed.jsonl", "index.parquet", SILENCE_FILE)
    final["files"] = {name: file_sha256(folder / name) for name in named if (folder / name).is_file()}
    remove_leftovers(folder, final)
    write_json(folder / DATASET_FILE, final)
    return final


def is_finalised(folder: Path) -> bool:
    """Returns whether the files that `finalise` writes in addition to `dataset.json` are there."""
    return (folder / "index.parquet").exists() and (folder / "failed.jsonl").exists()


def all_failures(plan: Plan, shards: Sequence[ShardFile]) -> list[Failure]:
    """Returns the items that failed to be probed, then those that failed to be encoded, each in the plan's order."""
    return [*plan.failures, *(failure for shard in shards for failure in shard.failures)]


def index_rows(shards: Sequence[ShardFile]) -> list[dict[str, Any]]:
    """Returns one row per item, in order: its place and length, its source, and its metadata."""
    rows = []
    for shard in shards:
        for row in range(shard.num_items):
            meta = shard.meta(row)
            metadata = meta.pop("metadata")
            known = {
                "id": meta.pop("id"),
                "shard": shard.header["shard"],
                "row": row,
                "num_latents": _length(shard, "latents", row),
                "num_tokens": _length(shard, "tokens", row),
                **meta,
            }
            known.setdefault("loudness_lufs", None)
            taken = {key if key not in known else f"metadata_{key}": value for key, value in metadata.items()}
            rows.append({**known, **taken})
    return rows


def _length(shard: ShardFile, stream: str, row: int) -> int:
    if not shard.has(stream):
        return 0
    offsets = shard.array("latent_offsets" if stream == "latents" else "token_offsets")
    return int(offsets[row + 1] - offsets[row])


def write_index(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows as parquet, atomically. A column with values of several types is stored as JSON text."""
    import pyarrow
    import pyarrow.parquet

    names = list(dict.fromkeys(name for row in rows for name in row))
    table = pyarrow.table({name: _column([row.get(name) for row in rows]) for name in names})
    with atomic_path(path) as part:
        pyarrow.parquet.write_table(table, part, compression="zstd")


def _column(values: list[Any]) -> Any:
    import pyarrow

    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or (len(kinds) == 1 and kinds < {str, bool, list}):
        try:
            return pyarrow.array(values)
        except (pyarrow.ArrowException, OverflowError):
            pass  # lists of several kinds, or integers beyond 64 bits
    return pyarrow.array([None if value is None else json.dumps(value, ensure_ascii=False) for value in values])


def remove_leftovers(folder: Path, info: Mapping[str, Any]) -> None:
    """Removes temporary files of killed runs, and the plans and shards of earlier generations.

    Call it only after all shards are committed, when nothing is being written.

    Args:
        folder: of the dataset.
        info: contents of `dataset.json`.
    """
    shards = {shard["name"] for shard in info["shards"]}
    for path in [*folder.iterdir(), *(folder / "shards").iterdir()]:
        old_plan = PLAN_FILE.match(path.name) and path.name != info["plan"]["file"]
        old_shard = SHARD_FILE.match(path.name) and path.parent != folder and path.name not in shards
        if LEFTOVER.match(path.name) or old_plan or old_shard:
            path.unlink(missing_ok=True)
