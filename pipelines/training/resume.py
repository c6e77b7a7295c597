"""Where a run begins: anew, or at a checkpoint that fits it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from torch import nn

from ...core.config import config_to_dict
from ...core.configured import ConfiguredModel
from ...core.errors import CheckpointError, MismatchError
from .config import TrainConfig
from .ema import AveragedModel
from .optim import load_optimizer_tensors
from .state import CRITIC, CRITIC_OPTIMIZER, last_checkpoint, list_checkpoints, read_progress, read_tensors
from .trainee import Trainee

logger = logging.getLogger(__name__)

# what a resumed run may not change, for it would be another run
FIXED = ("model.class_name", "model.config", "optimizer.name", "batch_size", "seed")
# what may change without a word, for the weights do not depend on it
FREE = (
    "output",
    "device",
    "log_every",
    "validate_every",
    "preview_every",
    "fad_every",
    "checkpoint_every",
    "keep_checkpoints",
)
FREE_SECTIONS = ("preview", "fad", "data")


def find_start(config: TrainConfig, resume: str | Path | None) -> Path | None:
    """The checkpoint to go on from, whole and of this run; None to begin anew.

    Args:
        resume: `auto`, a checkpoint's folder, or None; see `train`.

    Raises:
        CheckpointError: a damaged checkpoint, or one that a run begun anew would overwrite.
        MismatchError: a checkpoint of another run.
    """
    if resume is None:
        found = list_checkpoints(Path(config.output) / "checkpoints")
        if found:
            raise CheckpointError(f"{config.output} holds a run ({found[-1].name}): resume it or choose another output")
        return None
    start = last_checkpoint(config.output) if str(resume) == "auto" else Path(resume)
    if start is None:
        return None
    saved = read_progress(start)
    theirs, ours = saved.config, config_to_dict(config)
    changed = [key for key in FIXED if _at(theirs, key) != _at(ours, key)]
    if _critic_optimizer(theirs) != _critic_optimizer(ours) and "optimizer.name" not in changed:
        changed.append("critic_optimizer.name")
    if changed:
        raise MismatchError(f"{start} is of a run with other {', '.join(changed)}: take its values or another output")
    if saved.step > config.steps:
        raise MismatchError(f"{start} has done {saved.step} steps, more than steps={config.steps}")
    other = [key for key in ours if key not in FREE + FREE_SECTIONS and theirs.get(key) != ours[key]]
    if other:
        logger.warning("%s was saved with other %s: the run goes on with the new values", start, ", ".join(other))
    logger.info("resuming from %s", start)
    return start


def load_state(
    start: Path, trained: Trainee, critic: Trainee | None, average: AveragedModel, scaler: Any | None
) -> int:
    """Load weights, averaged weights, the critic, and the state of optimisers and gradient scaler.

    Returns:
        The steps done.

    Raises:
        MismatchError: the checkpoint's model or critic has another config, or was trained on another dataset.
    """
    model = cast(ConfiguredModel, trained.module)
    for target, name in ((model, "model"), (average.model, "ema")):
        saved = type(model).from_pretrained(start / name)
        if saved.settings != model.settings:
            raise MismatchError(
                f"{start} was trained on another dataset or with another model.config: choose another output"
            )
        target.load_state_dict(saved.state_dict())
    load_optimizer_tensors(trained.optimizer, trained.module, read_tensors(start))
    if critic is not None:
        load_critic(critic.module, start / f"{CRITIC}.safetensors")
        load_optimizer_tensors(critic.optimizer, critic.module, read_tensors(start, CRITIC_OPTIMIZER))
    progress = read_progress(start)
    if scaler is not None and progress.scaler:
        scaler.load_state_dict(progress.scaler)
    return progress.step


def load_critic(critic: nn.Module, path: Path) -> None:
    """Load a critic's weights from a checkpoint's `critic.safetensors`.

    Raises:
        CheckpointError: no such file.
        MismatchError: weights of another critic.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}: it is of a run without a critic, or no checkpoint's critic at all")
    try:
        critic.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise MismatchError(f"{path} holds a critic of another config: {' '.join(str(error).split())[:300]}") from error


def _critic_optimizer(config: dict[str, Any]) -> str:
    """Which optimiser a run's critic has, or would have."""
    return (config.get("critic_optimizer") or config["optimizer"])["name"]


def _at(values: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key, {})
    return values
