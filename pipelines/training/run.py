"""A training run: the loop over steps, and what happens at intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from ...core.config import config_to_dict
from ...core.configured import ConfiguredModel
from ...core.errors import TrainingInterrupted
from ...core.job_log import job_logger
from ...core.settings import save_config
from ..data.checkpoints import remove_unfinished
from .build import Task
from .callbacks import Callback, SharedCallback, is_due
from .config import TrainConfig
from .ema import AveragedModel
from .environment import processes_of
from .loader import micro_batches
from .log import Averages, MetricsLog
from .resume import Start
from .state import load_state, load_weights, save_state
from .step import Stepper
from .stop import StopRequest
from .trackers import Trackers
from .validate import validate

ProgressCallback = Callable[[int, int, dict[str, float]], None]  # (steps done, all steps, latest figures)


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """The result of a finished run."""

    output: str  # the run's folder
    checkpoint: str  # its last checkpoint, below that folder
    steps: int
    loss: float  # mean over the steps since the last log line but one; NaN if no step was left to do
    valid_loss: float | None  # of the averaged weights at the end, if it was measured
    seconds: float  # duration of the steps of this call
    already_complete: bool = False  # all steps had been done before this call


class Run:
    """A run in one process of one or several; only the main process writes.

    Args:
        config: of the run.
        accelerator: made for that config.
        task: model, objective and data.
        start: the checkpoint to resume from; None starts from the beginning.
        callbacks: called at intervals, in this order.
    """

    def __init__(
        self,
        config: TrainConfig,
        accelerator: Any,
        task: Task,
        start: Start | None,
        callbacks: Sequence[Callback | SharedCallback],
    ):
        self.config, self.accelerator, self.task, self.callbacks = config, accelerator, task, callbacks
        self.processes = processes_of(accelerator)
        if start is None and config.model.init_from is None:  # every process reads the same examples
            first = micro_batches(
                task.examples, first_step=0, batch_size=config.batch_size, parts=1, num_threads=config.data.num_threads
            )
            with closing(first):
                task.objective.warm_start(cast(nn.Module, task.model), first)
        self.model: ConfiguredModel = task.model.to(accelerator.device).train()
        sharded = config.shard and self.processes.count > 1
        self.average = AveragedModel(self.model, config.ema_decay)
        if start is not None:
            load_weights(start, self.model, self.average)
        self.stepper = Stepper(config, accelerator, task.objective, self.model)
        if sharded:
            self.average.shard(accelerator.device)
        self.first_step = self.saved_step = 0
        if start is not None:
            load_state(start, self.stepper.model, self.stepper.critic, accelerator.scaler)
            self.first_step = self.saved_step = start.progress.step
        self.log: MetricsLog | None = None
        if accelerator.is_main_process:
            remove_unfinished(config.folder / "checkpoints")
            save_config(config, config.folder / "train.yaml")
            trackers = Trackers(config.trackers, config.folder, self.first_step, config_to_dict(config))
            self.log = MetricsLog(config.folder, self.first_step, trackers)
            self._announce()

    def _announce(self) -> None:
        """Logs what is trained, on what, and where."""
        config, accelerator = self.config, self.accelerator
        parameters = list(cast(nn.Module, self.model).parameters())
        learning = sum(p.numel() for p in parameters if p.requires_grad)
        job_logger.info(
            "training %s (%s parameters, %s of them learn) on %d items, device %s x %d, precision %s, "
            "steps %d to %d of %d examples each",
            config.model.class_name,
            f"{sum(p.numel() for p in parameters):,}",
            f"{learning:,}",
            self.task.examples.num_items,
            accelerator.device,
            accelerator.num_processes,
            "fp32" if accelerator.mixed_precision == "no" else accelerator.mixed_precision,
            self.first_step + 1,
            config.steps,
            config.batch_size,
        )
        if self.first_step:
            job_logger.info("resuming from %s", self._checkpoint(self.first_step))

    def go(self, stop: StopRequest, progress: ProgressCallback | None = None) -> TrainSummary:
        """Does the steps that are left.

        Raises:
            TrainingError: NaN or inf in a loss or a gradient.
            TrainingInterrupted: `stop` was requested; a checkpoint is saved.
        """
        config, started = self.config, time.perf_counter()
        averages, figures, valid_loss = Averages(), {"loss": math.nan}, None
        batches = self._batches()
        since, logged = started, self.first_step
        try:
            for step in range(self.first_step, config.steps):
                stopped, done = self.stepper.do(step, batches, averages, stop), step + 1
                self.average.update(self.model, step)
                if is_due(config.log_every, done, config.steps):
                    figures = averages.take(self.processes)
                    figures["learning_rate"] = self.stepper.model.optimizer.param_groups[0]["lr"]
                    figures["examples_per_s"] = (done - logged) * config.batch_size / (time.perf_counter() - since)
                    self._write(done, figures)
                    since, logged = time.perf_counter(), done
                if progress is not None:
                    progress(done, config.steps, figures)
                before = time.perf_counter()
                valid_loss = self._at_intervals(done, valid_loss)
                since += time.perf_counter() - before  # the speed is that of the steps alone
                if stopped and done < config.steps:
                    self._stop(done, stop)
        finally:
            batches.close()
            if self.log is not None:
                self.log.close()
        return TrainSummary(
            output=str(config.folder),
            checkpoint=str(self._checkpoint(config.steps)),
            steps=config.steps,
            loss=figures.get("loss", math.nan),
            valid_loss=valid_loss,
            seconds=time.perf_counter() - started,
        )

    def _batches(self) -> Generator[Any, None, None]:
        return micro_batches(
            self.task.examples,
            first_step=self.first_step,
            batch_size=self.config.batch_size,
            parts=self.config.grad_accum,
            rank=self.processes.rank,
            world_size=self.processes.count,
            num_threads=self.config.data.num_threads,
            prefetch_batches=self.config.data.prefetch_batches,
        )

    def _at_intervals(self, done: int, valid_loss: float | None) -> float | None:
        """Validates, saves and calls the callbacks when it is time; returns the newest validation loss."""
        config = self.config
        if self.task.held_out is not None and is_due(config.validate_every, done, config.steps):
            figures = validate(config, self.task, self._averaged(), self.accelerator)
            self._write(done, figures)
            valid_loss = figures.get("valid_loss", math.nan)
        if is_due(config.checkpoint_every, done, config.steps) or done == config.steps:
            self._save(done)
        for callback in self.callbacks:
            if not is_due(callback.every, done, config.steps):
                continue
            if isinstance(callback, SharedCallback):
                callback(done, self._averaged(), self.log, self.processes)
                continue
            averaged = self._averaged()
            if self.log is not None:
                callback(done, averaged, self.log)
        return valid_loss

    def _averaged(self) -> ConfiguredModel:
        return self.average.whole(self.accelerator.device)

    def _write(self, done: int, figures: dict[str, float]) -> None:
        if self.log is not None:
            self.log.write(done, figures)

    def _stop(self, done: int, stop: StopRequest) -> None:
        if self.saved_step != done:
            self._save(done)
        raise TrainingInterrupted(
            f"stopped by {stop.name or 'a signal to another process'} after step {done}; {self._checkpoint(done)} is "
            "saved: run the same command again to resume",
            by=stop.name,
        )

    def _save(self, done: int) -> None:
        both, scaler = (self.stepper.model, self.stepper.critic), self.accelerator.scaler
        path = save_state(done, self.config, *both, self.average, scaler, self.processes, self.task.data)
        if path is not None:
            job_logger.info("saved %s", path)
        self.saved_step = done
        self.accelerator.wait_for_everyone()

    def _checkpoint(self, done: int) -> Path:
        return self.config.folder / "checkpoints" / f"{done:08d}"
