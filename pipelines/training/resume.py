"""The state of a run in a checkpoint: finding where to start, loading and saving."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from safetensors.torch import load_file
from torch import nn

from ...core.config import config_to_dict
from ...core.configured import ConfiguredModel
from ...core.errors import CheckpointError, MismatchError
from ...generators.adapters import has_trained_adapter, restore_adapter, save_adapter
from ...generators.base import LatentGenerator
from ..data.checkpoints import (
    CRITIC,
    CRITIC_OPTIMIZER,
    CriticState,
    Progress,
    last_checkpoint,
    list_checkpoints,
    read_progress,
    read_tensors,
    save_checkpoint,
)
from .config import TrainConfig
from .ema import AveragedModel
from .identity import ALLOW, keep_statistics
from .optim import load_optimizer_tensors, optimizer_tensors
from .trainee import Trainee

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
    allow_changed_data: bool = False  # the run may go on with other data than before


def find_start(config: TrainConfig, resume: str | Path | None, *, allow_changed_data: bool = False) -> Start | None:
    """Returns the checkpoint to resume from, or None to start from the beginning.

    Args:
        config: of the run.
        resume: `auto`, a checkpoint's folder, or None; see `train`.
        allow_changed_data: go on where crops, columns, weights or augmentation of the data changed; the log names them.

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
    other = [key for key in ours if key not in FREE + FREE_SECTIONS and theirs.get(key) != ours[key]]
    if other:
        logger.warning("%s was saved with other %s: the run continues with the new values", start, ", ".join(other))
    return Start(start, saved, allow_changed_data)


def load_weights(start: Start, model: ConfiguredModel, average: AveragedModel) -> None:
    """Loads weights and averaged weights, which are not sharded yet.

    Args:
        start: the checkpoint.
        model: the model.
        average: the averaged weights.

    Raises:
        MismatchError: the checkpoint's model has another config, or was trained on another dataset.
    """
    folder = start.folder
    for target, name in ((model, "model"), (average.model, "ema")):
        if has_trained_adapter(target):
            restore_adapter(cast(LatentGenerator, target), folder / name)
            continue
        saved = type(model).from_pretrained(folder / name)
        if start.allow_changed_data:
            keep_statistics(target, saved)
        if saved.settings != target.settings:
            raise MismatchError(
                f"{folder} was trained on another dataset or with another model.config: choose another output"
            )
        target.load_state_dict(saved.state_dict())


def load_state(start: Start, trained: Trainee, critic: Trainee | None, scaler: Any | None) -> None:
    """Loads the critic, and the state of optimizers and gradient scaler.

    Args:
        start: the checkpoint.
        trained: the model.
        critic: of an adversarial objective.
        scaler: of fp16 gradients.

    Raises:
        MismatchError: the checkpoint's critic has another config.
    """
    folder = start.folder
    load_optimizer_tensors(trained.optimizer, trained.module, read_tensors(folder))
    if critic is not None:
        load_critic(critic.module, folder / f"{CRITIC}.safetensors")
        load_optimizer_tensors(critic.optimizer, critic.module, read_tensors(folder, CRITIC_OPTIMIZER))
    if scaler is not None and start.progress.scaler:
        scaler.load_state_dict(start.progress.scaler)


def save_state(
    step: int,
    config: TrainConfig,
    trained: Trainee,
    critic: Trainee | None,
    average: AveragedModel,
    scaler: Any | None,
    main: bool,
    data: str,
) -> Path | None:
    """Saves what `load_weights` and `load_state` load as a checkpoint of the run's folder.

    Every process calls it, so that shares are gathered. The checkpoint is the same however many processes there are.

    Args:
        step: optimizer steps done.
        config: of the run.
        trained: the model.
        critic: of an adversarial objective.
        average: the averaged weights.
        scaler: of fp16 gradients.
        main: whether this process writes.
        data: identity of the training data.

    Returns:
        The folder of the checkpoint, in the process that writes.

    Raises:
        OSError: it could not be written; nothing half-written is left behind.
    """
    if not main and not trained.sharded:
        return None
    model, averaged = trained.whole(), average.whole()
    optimizer = optimizer_tensors(trained.optimizer, trained.module)
    if not main:
        return None
    progress = Progress(
        step=step,
        samples_seen=step * config.batch_size,
        config=config_to_dict(config),
        scaler=scaler.state_dict() if scaler is not None else {},
        data=data,
    )
    return save_checkpoint(
        config.folder / "checkpoints",
        progress,
        model,
        averaged,
        optimizer,
        config.keep_checkpoints,
        None if critic is None else _critic_state(critic),
        write=_write_adapter(str(config.model.init_from)) if config.adapter else ConfiguredModel.save_pretrained,
    )


def _write_adapter(base: str) -> Callable[[ConfiguredModel, Path], None]:
    """Returns a function that writes of a model its adapter alone."""
    return lambda model, folder: save_adapter(cast(LatentGenerator, model), folder, base)


def _critic_state(critic: Trainee) -> CriticState:
    weights = {name: value.detach().cpu().contiguous() for name, value in critic.module.state_dict().items()}
    return CriticState(weights=weights, optimizer=optimizer_tensors(critic.optimizer, critic.module))


def load_critic(critic: nn.Module, path: Path) -> None:
    """Loads a critic's weights from a checkpoint's `critic.safetensors`.

    Raises:
        CheckpointError: there is no such file.
        MismatchError: the weights are those of another critic.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no {path}: the run has no critic, or the path does not name one")
    try:
        critic.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise MismatchError(f"{path} holds a critic of another config: {' '.join(str(error).split())[:300]}") from error


def _critic_optimizer(config: dict[str, Any]) -> str:
    """Returns which optimizer the critic of a run has, or would have."""
    return str((config.get("critic_optimizer") or config["optimizer"])["name"])


def _at(values: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        values = values.get(key, {})
    return values
