"""Checkpoints of a training run: complete or absent, without pickles, only the last few of them.

A run's folder holds `train.yaml` (the config), `metrics.jsonl`, and `checkpoints/` with `00001000/` (named by the steps
done) and `last`, a text file with the name of the newest one. Each checkpoint holds `model/` and `ema/`, which
`from_pretrained` loads, `optimizer.safetensors`, and `state.json` with the size and SHA-256 of every file. If the run
has a critic, it also holds `critic.safetensors` and `critic_optimizer.safetensors`. If the model is sharded, `shares/`
takes the place of `model/` and `optimizer.safetensors`: in it each process has written its own part of both.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.errors import CheckpointError
from ...core.files import file_sha256, let_others_read, write_json, write_text
from ...core.folders import atomic_folder

FORMAT, SHARED_FORMAT = 1, 2  # of state.json; the second one has shares, which earlier releases cannot read
STATE_FILE = "state.json"
LAST_FILE = "last"
SHARES = "shares"  # folder of a sharded model's state
OPTIMIZER, CRITIC, CRITIC_OPTIMIZER = "optimizer", "critic", "critic_optimizer"  # stems of safetensors files


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The progress of a run, and what it needs in addition to weights and optimizer state."""

    step: int  # optimizer steps done
    samples_seen: int  # examples drawn
    config: dict[str, Any]  # of the run, as plain values
    scaler: dict[str, Any] = field(default_factory=dict)  # of fp16 gradient scaling; else empty
    data: str = ""  # identity of the training data, hex SHA-256; empty where it is not known


def save_checkpoint(folder: Path, progress: Progress, keep: int, fill: Callable[[Path], None]) -> Path:
    """Writes a checkpoint below `folder` and removes all but the last ones.

    Args:
        folder: `checkpoints` of the run.
        progress: of the run.
        keep: number of checkpoints to keep.
        fill: writes the weights and the rest of the state to an empty folder.

    Returns:
        The folder of the checkpoint.

    Raises:
        OutputError: it could not be written; nothing half-written is left behind.
    """
    final = folder / f"{progress.step:08d}"  # it is there already if the run was resumed from an earlier checkpoint
    with atomic_folder(final) as part:
        fill(part)
        write_json(part / STATE_FILE, _state(part, progress))
    write_text(folder / LAST_FILE, final.name + "\n")
    later = [path for path in list_checkpoints(folder) if int(path.name) > progress.step]
    earlier = [path for path in list_checkpoints(folder) if int(path.name) <= progress.step]
    for path in later + earlier[:-keep]:  # later ones belong to a run that this one replaced
        shutil.rmtree(path)
    return final


def unfinished(folder: Path, step: int, pid: int, what: str = "") -> Path:
    """Returns the folder that a process writes to and that becomes a checkpoint, or a part of one.

    Args:
        folder: `checkpoints` of the run.
        step: of the checkpoint.
        pid: of the process.
        what: name of the part.
    """
    return folder / f".{step:08d}.{pid}{what}.part"


def write_tensors(checkpoint: Path, name: str, tensors: dict[str, Tensor]) -> None:
    """Writes a checkpoint's file.

    Args:
        checkpoint: its folder.
        name: OPTIMIZER, CRITIC or CRITIC_OPTIMIZER.
        tensors: to write.
    """
    from safetensors.torch import save_file

    path = checkpoint / f"{name}.safetensors"
    save_file(tensors, path)
    let_others_read(path)


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints below a run's `checkpoints` folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.name.isdigit() and path.is_dir())


def last_checkpoint(run: str | Path) -> Path | None:
    """Returns the newest checkpoint of a run's folder, or None."""
    folder = Path(run) / "checkpoints"
    pointer = folder / LAST_FILE
    if pointer.is_file():
        named = folder / pointer.read_text(encoding="utf-8").strip()
        if named.is_dir() and named.name.isdigit():
            return named
    found = list_checkpoints(folder)
    return found[-1] if found else None


def run_weights(run: str | Path) -> Path:
    """Returns the folder with the averaged weights of a run's newest checkpoint.

    Raises:
        CheckpointError: the folder is not a run, or holds no checkpoint yet.
    """
    checkpoint = last_checkpoint(run)
    if checkpoint is None:
        raise CheckpointError(f"{run} holds no checkpoint: it is not the folder of a training run that has saved one")
    return checkpoint / "ema"


def read_progress(checkpoint: Path) -> Progress:
    """Checks that a checkpoint is whole and reads its progress.

    Raises:
        CheckpointError: it is missing, truncated or altered; the message names an earlier one that is whole.
    """
    state, reason = _read_state(checkpoint)
    if state is None:
        earlier = [p for p in list_checkpoints(checkpoint.parent) if p.name < checkpoint.name and _read_state(p)[0]]
        advice = f"the earlier {earlier[-1]} is whole: resume from it" if earlier else "there is no earlier whole one"
        raise CheckpointError(f"checkpoint {checkpoint} is damaged ({reason}); {advice}")
    return Progress(
        step=state["step"],
        samples_seen=state["samples_seen"],
        config=state["config"],
        scaler=state["scaler"],
        data=state.get("data", ""),
    )


def read_tensors(checkpoint: Path, name: str = OPTIMIZER) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint's file OPTIMIZER, CRITIC or CRITIC_OPTIMIZER."""
    from safetensors.torch import load_file

    return load_file(checkpoint / f"{name}.safetensors")


def remove_unfinished(folder: Path) -> None:
    """Removes half-written checkpoints of a killed run."""
    for part in folder.glob(".*.part"):
        shutil.rmtree(part, ignore_errors=True)


def _read_state(checkpoint: Path) -> tuple[dict[str, Any] | None, str]:
    """Returns the contents of `state.json`, or None and what is wrong with the checkpoint."""
    try:
        state = json.loads((checkpoint / STATE_FILE).read_text(encoding="utf-8"))
        version, listed = state["format"], state["files"]
    except FileNotFoundError:
        return None, f"it has no {STATE_FILE}" if checkpoint.is_dir() else "there is no such folder"
    except (OSError, ValueError, KeyError, TypeError):
        return None, f"its {STATE_FILE} cannot be read"
    if version not in (FORMAT, SHARED_FORMAT):
        return None, f"it has format {version}, this program reads {FORMAT} and {SHARED_FORMAT}"
    for name, facts in listed.items():
        path = checkpoint / name
        if not path.is_file():
            return None, f"{name} is missing"
        size = path.stat().st_size
        if size != facts["bytes"]:
            return None, f"{name} has {size} bytes instead of {facts['bytes']}"
        if file_sha256(path) != facts["sha256"]:
            return None, f"{name} was altered"
    return state, ""


def _state(part: Path, progress: Progress) -> dict[str, Any]:
    return {
        "format": SHARED_FORMAT if (part / SHARES).is_dir() else FORMAT,
        "step": progress.step,
        "samples_seen": progress.samples_seen,
        "scaler": progress.scaler,
        "data": progress.data,
        "config": progress.config,
        "files": {
            path.relative_to(part).as_posix(): {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in _files(part)
        },
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
