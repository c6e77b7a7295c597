"""Finding the checkpoint that a run is resumed from, and refusing those of other runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.config import config_to_dict
from ...core.errors import CheckpointError, MismatchError
from ..data.checkpoints import Progress, last_checkpoint, list_checkpoints, read_progress
from .config import TrainConfig
from .identity import ALLOW

logger = logging.getLogger(__name__)

# keys that a resumed run must not change, since it would be another run
FIXED = (
    *("model.class_name", "model.config", "optimizer.name", "batch_size", "seed", "adapter"),
    *("data.where", "data.crop_s", "data.conditions", "data.source_weights", "data.min_duration_s"),
    *("data.weight_column", "data.weights", "data.gain_db", "data.speed", "data.speed_probability"),
    *("data.mix_probability", "data.mix_gain_db"),
)
DATA = "data."  # how the fixed keys begin that a run may change where it is allowed to
# keys that may change without a warning, since the weights do not depend on them
FREE = (
    "output",
    "device",
    "process_timeout_min",
    "gradient_checkpointing",
    "trackers",
    "packed",
    "shard",
    "log_every",
    "validate_every",
    "preview_every",
    "fad_every",
    "checkpoint_every",
    "keep_checkpoints",
)
FREE_SECTIONS = ("preview", "fad", "data")


@dataclass(frozen=True)
class Start:
    """A whole checkpoint of this run to resume from."""

    folder: Path
    progress: Progress
    allow_changed_data: bool = False  # the run may continue with other data than before


def find_start(config: TrainConfig, resume: str | Path | None, *, allow_changed_data: bool = False) -> Start | None:
    """Returns the checkpoint to resume from, or None to start from the beginning.

    Args:
        config: of the run.
        resume: `auto`, a checkpoint's folder, or None; see `train`.
        allow_changed_data: continue where crops, columns, weights or augmentation of the data changed; the log says
            which.

    Raises:
        CheckpointError: a damaged checkpoint, or, if `resume` is None, one that the run would overwrite.
        MismatchError: a checkpoint of another run.
    """
    if resume is None:
        found = list_checkpoints(config.folder / "checkpoints")
        if found:
            raise CheckpointError(f"{config.output} holds a run ({found[-1].name}): resume it or choose another output")
        return None
    start = last_checkpoint(config.folder) if str(resume) == "auto" else Path(resume)
    if start is None:
        return None
    saved = read_progress(start)
    theirs, ours = saved.config, config_to_dict(config)
    changed = [key for key in FIXED if (_at(theirs, key) or None) != (_at(ours, key) or None)]  # absent is None
    if _critic_optimizer(theirs) != _critic_optimizer(ours) and "optimizer.name" not in changed:
        changed.append("critic_optimizer.name")
    if allow_changed_data and (allowed := [key for key in changed if key.startswith(DATA)]):
        logger.warning("%s is of a run with other %s: the run continues with the new values", start, ", ".join(allowed))
        changed = [key for key in changed if key not in allowed]
    if changed:
        way_on = f", or {ALLOW}" if all(key.startswith(DATA) for key in changed) else ""
        raise MismatchError(
            f"{start} is of a run with other {', '.join(changed)}: use its values or another output{way_on}"
        )
    if saved.step > config.steps:
        raise MismatchError(f"{start} has done {saved.step} steps, more than steps={config.steps}")
    ours["model"]["init_from"] = theirs.get("model", {}).get("init_from")  # which `keep_start` reports
    other = [key for key in ours if key not in FREE + FREE_SECTIONS and theirs.get(key) != ours[key]]
    if other:
        logger.warning("%s was saved with other %s: the run continues with the new values", start, ", ".join(other))
    return Start(start, saved, allow_changed_data)


def _critic_optimizer(config: dict[str, Any]) -> str:
    """Returns which optimizer the critic of a run has, or would have."""
    return str((config.get("critic_optimizer") or config["optimizer"])["name"])


def _at(values: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key, {})
    return values
