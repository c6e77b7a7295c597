"""Starts a dataset: writes its plan and description, or checks that the existing ones are those that are wanted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ....core.config import config_to_dict
from ....core.errors import AudioError, DatasetError, MismatchError
from ....core.files import file_sha256, write_json
from ....core.job_log import job_logger
from ....core.leftovers import is_temporary
from ....core.locks import LOCKS
from ....tokenizers.base import AudioTokenizer
from ..audio.item import AudioItem
from .dataset_files import DATASET_FILE, DATASET_FORMAT, DATASET_VERSION, read_dataset_json
from .earlier import EarlierPlan
from .embeddings import FOLDER as EMBEDDINGS
from .embeddings import remove_audio_stores
from .encode_items import write_silence
from .index import PLAN_FILE
from .make_plan import make_plan
from .plan import Failure, Plan
from .progress import ProgressReport
from .settings import ShardSettings
from .shard import shard_name
from .source_state import source_digest

OWN_FILES = frozenset(
    {"shards", "silence.safetensors", EMBEDDINGS, LOCKS}
)  # left by a run that was killed at its start


def describe_dataset(
    source: Path | str,
    tokenizer: AudioTokenizer,
    *,
    tokenizer_source: str,
    settings: dict[str, Any],
) -> dict[str, Any]:
    """Returns the contents of `dataset.json` at the start.

    Args:
        source: path or URL of the audio.
        tokenizer: the codec.
        tokenizer_source: name or path that the tokenizer can be loaded by.
        settings: of `ShardSettings`, as plain values.
    """
    return {
        "format": DATASET_FORMAT,
        "version": DATASET_VERSION,
        "complete": False,
        "tokenizer": _describe_tokenizer(tokenizer, tokenizer_source),
        "settings": settings,
        "source": {"path": str(source)},
    }


def _describe_tokenizer(tokenizer: AudioTokenizer, source: str) -> dict[str, Any]:
    return {
        "source": source,
        "class": type(tokenizer).__name__,
        "fingerprint": tokenizer.fingerprint(),
        "licence": tokenizer.licence,
        "spec": config_to_dict(tokenizer.spec),
        "config": config_to_dict(tokenizer.settings),
    }


def open_or_create(
    folder: Path,
    wanted: dict[str, Any],
    files: Iterable[AudioItem],
    tokenizer: AudioTokenizer,
    settings: ShardSettings,
    num_threads: int,
    report: ProgressReport,
) -> tuple[dict[str, Any], Plan]:
    """Returns description and plan of the dataset in `folder`, which are made and written if there are none yet.

    If the source has changed since, they are replaced by those of the next generation, which keeps what did not change.

    Args:
        folder: of the dataset.
        wanted: from `describe_dataset`.
        files: of the source, which can be gone through more than once.
        tokenizer: the codec.
        settings: of the dataset.
        num_threads: that probe files.
        report: counts the probed files.

    Raises:
        AudioError: no file can be encoded.
        MismatchError: the folder holds a dataset that was started with something else.
        DatasetError: the folder holds something else, or a broken dataset.
        OSError: the folder cannot be written.
    """
    check_folder(folder)
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    silence = folder / "silence.safetensors"
    if (folder / DATASET_FILE).exists():
        info, plan = _open(folder, wanted)
        if info["source"]["digest"] != source_digest(files):
            earlier = EarlierPlan(folder, plan, info["plan"]["next_shard"])
            plan = make_plan(files, tokenizer.spec, settings, earlier=earlier, num_threads=num_threads, report=report)
            info = _next_generation(folder, info, wanted, earlier, plan)
        if not silence.exists():
            write_silence(silence, tokenizer, settings)
        return _reopened(folder, info, plan), plan
    plan = make_plan(files, tokenizer.spec, settings, num_threads=num_threads, report=report)
    if not plan.num_items:
        raise AudioError(f"nothing could be encoded of {wanted['source']['path']}: {first_reasons(plan.failures)}")
    write_silence(silence, tokenizer, settings)
    return _commit(folder, wanted, plan, generation=1, first_free_shard=0), plan


def _reopened(folder: Path, info: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Marks a complete dataset of which shards are missing as incomplete; returns the contents of `dataset.json`."""
    if not info["complete"] or all((folder / "shards" / shard_name(n)).exists() for n in plan.shard_numbers):
        return info
    info = {**info, "complete": False}
    write_json(folder / DATASET_FILE, info)
    return info


def _commit(folder: Path, wanted: dict[str, Any], plan: Plan, generation: int, first_free_shard: int) -> dict[str, Any]:
    """Writes a plan and then `dataset.json`, which makes it valid; returns the contents of the latter."""
    suffix = ".parquet" if generation == 1 else f".{generation}.parquet"
    items, sources = folder / f"plan{suffix}", folder / f"sources{suffix}"
    plan.write(items, sources)
    numbers = plan.shard_numbers
    facts = {
        "file": items.name,
        "sha256": file_sha256(items),
        "sources": sources.name,
        "sources_sha256": file_sha256(sources),
        "generation": generation,
        "num_shards": len(numbers),
        "num_items": plan.num_items,
        "shards": numbers,
        "next_shard": max([first_free_shard, *(number + 1 for number in numbers)]),
    }
    source = {**wanted["source"], "num_files": plan.files.num_rows, "digest": plan.source_digest}
    info = {**wanted, "source": source, "plan": facts, "job": _job(wanted)}
    write_json(folder / DATASET_FILE, info)
    return info


def _next_generation(
    folder: Path, info: dict[str, Any], wanted: dict[str, Any], earlier: EarlierPlan, plan: Plan
) -> dict[str, Any]:
    """Commits the plan of a source that changed, and returns the contents of `dataset.json`."""
    import pyarrow.compute

    before, now = (one.files["path"] for one in (earlier.plan, plan))
    if len(before) and not pyarrow.compute.any(pyarrow.compute.is_in(now, before.combine_chunks())).as_py():
        raise MismatchError(
            f"{folder} was made of {info['source']['path']}, and {wanted['source']['path']} has none of its files: "
            "encode to another folder"
        )
    if _changed_ids(earlier, plan):
        remove_audio_stores(folder)
    kept = int((plan.items["shard"].to_numpy() < earlier.next_shard).sum())
    job_logger.info(
        "the source changed: %d of %d items are kept, %d are new or changed",
        kept,
        earlier.plan.num_items,
        plan.num_items - kept,
    )
    return _commit(folder, wanted, plan, info["plan"]["generation"] + 1, earlier.next_shard)


def _changed_ids(earlier: EarlierPlan, plan: Plan) -> bool:
    """Returns whether an id has another sound than before, so that what is stored under it is out of date."""
    import pyarrow.compute

    items = plan.items
    rows = pyarrow.compute.index_in(items["id"], earlier.items["id"].combine_chunks())
    both = pyarrow.compute.is_valid(rows)
    now, before = items.filter(both), earlier.items.take(rows.filter(both))
    changed = now["shard"].to_numpy() >= earlier.next_shard
    for name in ("path", "start_s", "duration_s"):
        changed |= pyarrow.compute.not_equal(now[name], before[name]).to_numpy()
    return bool(changed.any())


def _open(folder: Path, wanted: dict[str, Any]) -> tuple[dict[str, Any], Plan]:
    """Returns description and plan of the existing dataset; raises MismatchError for other settings or codecs."""
    info = read_dataset_json(folder)
    if info["version"] < DATASET_VERSION:
        raise MismatchError(
            f"{folder} was made by an earlier latentune (format {info['version']}), which can be read but not "
            "continued: encode to another folder"
        )
    try:
        differences = [
            f"{key} was {json.dumps(info['settings'].get(key))}, is now {json.dumps(value)}"
            for key, value in wanted["settings"].items()
            if info["settings"].get(key) != value
        ]
        if info["tokenizer"]["fingerprint"] != wanted["tokenizer"]["fingerprint"]:
            differences.append(
                f"the tokenizer was {info['tokenizer']['source']} ({info['tokenizer']['fingerprint'][:12]}), "
                f"is now {wanted['tokenizer']['source']} ({wanted['tokenizer']['fingerprint'][:12]})"
            )
        facts = info["plan"]
        recorded = {folder / facts["file"]: facts["sha256"], folder / facts["sources"]: facts["sources_sha256"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{folder / DATASET_FILE} is not complete ({error!r}): delete the folder") from error
    if differences:
        raise MismatchError(
            f"{folder} was made with something else: {'; '.join(differences)}; encode to another folder"
        )
    plan = Plan.read(*recorded)
    for path, sha256 in recorded.items():
        if file_sha256(path) != sha256:
            raise DatasetError(f"{path} was changed: delete the folder and encode again")
    return info, plan


def open_running(folder: Path, settings: dict[str, Any], tokenizer: AudioTokenizer) -> tuple[dict[str, Any], Plan]:
    """Returns description and plan of a dataset that other processes encode, whether or not its source changed since.

    Args:
        folder: of the dataset.
        settings: of `ShardSettings`, as plain values.
        tokenizer: the codec.

    Raises:
        MismatchError: the dataset was started with something else.
        DatasetError: it is broken.
    """
    return _open(folder, {"settings": settings, "tokenizer": _describe_tokenizer(tokenizer, "the one that is given")})


def check_folder(folder: Path) -> None:
    """Checks that a folder is a dataset, a part of one, or empty.

    Raises:
        DatasetError: it is a file, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise DatasetError(f"cannot encode into {folder}: it is a file; give a folder")
    if (folder / DATASET_FILE).exists():
        return
    strange = [p.name for p in folder.iterdir() if not _own(p.name)] if folder.is_dir() else []
    if strange:
        raise DatasetError(f"{folder} holds other files, such as {sorted(strange)[0]}: give a new or empty folder")


def first_reasons(failures: Sequence[Failure], most: int = 3) -> str:
    """Returns the first few reasons, for an error message."""
    more = f" and {len(failures) - most} more" if len(failures) > most else ""
    return "; ".join(f"{failure.id}: {failure.reason}" for failure in failures[:most]) + more


def _own(name: str) -> bool:
    return name in OWN_FILES or PLAN_FILE.match(name) is not None or is_temporary(Path(name))


def _job(wanted: dict[str, Any]) -> str:
    """Returns a hex SHA-256 of settings and tokenizer. Each shard holds it, to detect others."""
    settings = json.dumps([wanted["settings"], wanted["tokenizer"]["fingerprint"]], sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()
