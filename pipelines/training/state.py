"""The state of a run in a checkpoint: loading and saving."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
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
    OPTIMIZER,
    SHARES,
    Progress,
    read_tensors,
    save_checkpoint,
    unfinished,
    write_tensors,
)
from ..data.weights_folder import weights_folder
from .config import TrainConfig
from .ema import AveragedModel
from .environment import Processes
from .identity import keep_statistics
from .optim import load_optimizer_state, optimizer_tensors
from .resume import Start
from .shares import read_shares, write_shares
from .trainee import Trainee


def load_weights(start: Start, model: ConfiguredModel, average: AveragedModel) -> None:
    """Loads weights and averaged weights, which are not sharded yet; `load_state` loads the shares of a sharded run.

    Args:
        start: the checkpoint.
        model: the model.
        average: the averaged weights.

    Raises:
        MismatchError: the checkpoint's model has another config, or was trained on another dataset.
    """
    folder = start.folder
    shared = (folder / SHARES).is_dir()
    # the weights themselves are then in the shares, and these hold their place
    for target, name in ((model, "ema" if shared else "model"), (average.model, "ema")):
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
    """Loads the critic, the state of optimizers and gradient scaler, and the shares of a sharded run.

    Args:
        start: the checkpoint.
        trained: the model.
        critic: of an adversarial objective.
        scaler: of fp16 gradients.

    Raises:
        CheckpointError, MismatchError: the checkpoint is of another model, or its critic has another config.
    """
    folder = start.folder
    if (shares := folder / SHARES).is_dir():
        read_shares(shares, trained.module, trained.optimizer, learning_only=has_trained_adapter(trained.module))
    else:
        load_optimizer_state(trained.optimizer, trained.module, read_tensors(folder))
    if critic is not None:
        load_critic(critic.module, folder / f"{CRITIC}.safetensors")
        load_optimizer_state(critic.optimizer, critic.module, read_tensors(folder, CRITIC_OPTIMIZER))
    if scaler is not None and start.progress.scaler:
        scaler.load_state_dict(start.progress.scaler)


def save_state(
    step: int,
    config: TrainConfig,
    trained: Trainee,
    critic: Trainee | None,
    average: AveragedModel,
    scaler: Any | None,
    processes: Processes,
    data: str,
) -> Path | None:
    """Saves what `load_weights` and `load_state` load as a checkpoint of the run's folder; every process calls it.

    Of a sharded model each process writes its own shares; all else, and the averaged weights as one file, is written by
    the first process.

    Args:
        step: optimizer steps done.
        config: of the run.
        trained: the model.
        critic: of an adversarial objective.
        average: the averaged weights.
        scaler: of fp16 gradients.
        processes: of the run.
        data: identity of the training data.

    Returns:
        The folder of the checkpoint, in the first process.

    Raises:
        OSError: it could not be written; nothing half-written is left behind.
    """
    folder, averaged = config.folder / "checkpoints", average.whole()
    write = _write_adapter(str(config.model.init_from)) if config.adapter else ConfiguredModel.save_pretrained
    shares = None
    if trained.sharded:
        shares = unfinished(folder, step, processes.collect(os.getpid())[0], SHARES)
        write_shares(shares, trained.module, trained.optimizer, learning_only=config.adapter is not None)
    if processes.rank:
        return None
    progress = Progress(
        step=step,
        samples_seen=step * config.batch_size,
        config=config_to_dict(config),
        scaler=scaler.state_dict() if scaler is not None else {},
        data=data,
    )

    def fill(part: Path) -> None:
        if shares is not None:
            os.replace(shares, part / SHARES)
        else:
            write(cast(ConfiguredModel, trained.module), part / "model")
            write_tensors(part, OPTIMIZER, optimizer_tensors(trained.optimizer, trained.module))
        write(averaged, part / "ema")
        if critic is not None:
            weights = {name: value.detach().cpu().contiguous() for name, value in critic.module.state_dict().items()}
            write_tensors(part, CRITIC, weights)
            write_tensors(part, CRITIC_OPTIMIZER, optimizer_tensors(critic.optimizer, critic.module))

    try:
        return save_checkpoint(folder, progress, config.keep_checkpoints, fill)
    finally:
        if shares is not None:
            shutil.rmtree(shares, ignore_errors=True)


def _write_adapter(start: str) -> Callable[[ConfiguredModel, Path], None]:
    """Returns a function that writes of a model its adapter alone, and where the weights are that it was trained on."""
    base = str(weights_folder(start))
    return lambda model, folder: save_adapter(cast(LatentGenerator, model), folder, base)


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
