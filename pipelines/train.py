"""Trains codecs and generators: `latentune train` as a function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from ..core.job_log import job_logger
from ..core.locks import sole_user
from ..core.outputs import prepare_output
from .training.build import Task, build_task
from .training.callbacks import Callback, SharedCallback
from .training.config import FadConfig, TrainConfig, train_config
from .training.distance import Distance, SampleDistance
from .training.environment import make_accelerator, own_randomness
from .training.identity import check_data
from .training.preview import Previews
from .training.resume import find_start
from .training.run import ProgressCallback, Run, TrainSummary
from .training.start_weights import keep_start
from .training.stop import StopRequest
from .training.trackers import check_trackers

__all__ = ["TrainConfig", "TrainSummary", "train", "train_config"]


def train(
    config: TrainConfig,
    *,
    resume: str | Path | None = "auto",
    allow_changed_data: bool = False,
    progress: ProgressCallback | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainSummary:
    """Trains a codec or a generator, in one process or in those of `accelerate launch`.

    An interrupted and resumed run gives the weights of an uninterrupted one: data, noise and learning rate are
    functions of the seed and the step.

    Args:
        config: of the run.
        resume: `auto` resumes from the last checkpoint in `config.output` if there is one; the folder of a checkpoint
            resumes from that one; None starts from the beginning and refuses a folder that holds checkpoints.
        allow_changed_data: resume although the data, or how examples are drawn from them, are not those of the
            checkpoint; the log names what changed.
        progress: called after each step with the steps done, all steps, and the latest figures.
        callbacks: called at intervals, after the previews and distances that the config names.

    Returns:
        What the run reached. If all steps are already done, nothing is trained and `already_complete` is set.

    Raises:
        TrainingError: NaN or inf in the loss or the gradient, no data to train on, or SIGTERM or Ctrl-C (a checkpoint
            is saved before).
        InUseError: another process trains in this folder.
        CheckpointError: a damaged checkpoint.
        MismatchError: a checkpoint of another run or of other data, or a dataset, a tokenizer and weights that do not
            fit each other.
    """
    accelerator = make_accelerator(config)
    with own_randomness(accelerator.device):
        main = accelerator.is_main_process
        check_trackers(config.trackers)
        if main:  # an output that cannot be written is reported before the data is read
            prepare_output(config.folder)
        with sole_user(config.folder, "train") if main else nullcontext():
            start = find_start(config, resume, allow_changed_data=allow_changed_data)
            if start is not None and start.progress.step == config.steps:
                return _already_complete(config, start.folder, main)
            with accelerator.main_process_first():
                config = keep_start(config, None if start is None else start.progress, write=main)
            task = build_task(config, accelerator)
            if start is not None:
                check_data(start.folder, start.progress.data, task.data, allow=allow_changed_data)
            configured = _configured_callbacks(config, task, main)
            run = Run(config, accelerator, task, start, [*configured, *callbacks])
            with StopRequest() as stop:  # earlier there is nothing to save
                return run.go(stop, progress)


def _configured_callbacks(config: TrainConfig, task: Task, main: bool) -> list[SharedCallback]:
    """Returns the distances and previews that the config asks for; only the main process measures."""
    callbacks: list[SharedCallback] = []
    if config.fad_every:
        assert task.tokenizer is not None, "the config checks that a tokenizer is named"
        distance = _distance(config.fad) if main else None
        callbacks.append(SampleDistance(config.fad, task.tokenizer, distance, config.fad_every))
    if config.preview_every:
        callbacks.append(Previews(config.preview, task, config.folder, config.preview_every))
    return callbacks


def _distance(fad: FadConfig) -> Distance:
    from .measure.sets.distance import ReferenceDistance

    return ReferenceDistance(
        fad.reference,
        where=fad.reference_where,
        max_files=fad.max_files,
        embedder=fad.embedder,
        checkpoint=fad.checkpoint,
    )


def _already_complete(config: TrainConfig, checkpoint: Path, main: bool) -> TrainSummary:
    if main:
        job_logger.info("already complete: all %d steps are done, see %s", config.steps, checkpoint)
    return TrainSummary(
        output=config.output,
        checkpoint=str(checkpoint),
        steps=config.steps,
        loss=math.nan,
        valid_loss=None,
        seconds=0.0,
        already_complete=True,
    )
