"""A training run at work: the loop, and what stands around it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from ...core.config import config_to_dict
from ...core.configured import ConfiguredModel
from ...core.errors import TrainingError
from ...core.random import keyed_seed
from ...core.settings import save_config
from ...generators.base import LatentGenerator
from .build import build_task
from .config import TrainConfig
from .ema import AveragedModel
from .environment import keyed_noise
from .loader import fixed_batches, micro_batches
from .log import Averages, MetricsLog
from .optim import optimizer_tensors
from .resume import find_start, load_state
from .state import CriticState, Progress, remove_unfinished, save_checkpoint
from .step import Stepper
from .stop import StopRequest
from .trainee import Trainee

if TYPE_CHECKING:
    from .distance import SampleDistance

logger = logging.getLogger(__name__)

ProgressCallback = Callable[[int, int, dict[str, float]], None]  # (steps done, steps in all, latest figures)


@dataclass(frozen=True, kw_only=True)
class TrainSummary:
    """What a finished run has come to."""

    output: str  # the run's folder
    checkpoint: str  # its last checkpoint, below that
    steps: int
    loss: float  # mean over the steps since the last log line but one; NaN where no step was left to do
    valid_loss: float | None  # of the averaged weights at the end, where it was measured
    seconds: float  # that the steps of this call took


class Run:
    """A run in one process of one or several; only the main process writes."""

    def __init__(self, config: TrainConfig, accelerator: Any, resume: str | Path | None):
        self.config, self.accelerator = config, accelerator
        self.output = Path(config.output)
        if accelerator.is_main_process:  # an output that cannot be written is known before the data is read
            self.output.mkdir(parents=True, exist_ok=True)
        start = find_start(config, resume)
        torch.manual_seed(keyed_seed(config.seed, "weights"))
        with accelerator.main_process_first():  # it fills caches that the others then find
            self.task = build_task(config)
        self.model: ConfiguredModel = self.task.model.to(accelerator.device).train()
        self.average = AveragedModel(self.model, config.ema_decay)
        self.distance: SampleDistance | None = None
        if config.fad_every and accelerator.is_main_process:
            from .distance import SampleDistance

            self.distance = SampleDistance(config.fad, self.task)
        self.stepper = Stepper(config, accelerator, self.task.objective, self.model)
        self.first_step = self.saved_step = 0
        if start is not None:
            both = self.stepper.model, self.stepper.critic
            self.first_step = self.saved_step = load_state(start, *both, self.average, accelerator.scaler)
        self.log: MetricsLog | None = None
        if accelerator.is_main_process:
            remove_unfinished(self.output / "checkpoints")
            save_config(config, self.output / "train.yaml")
            self.log = MetricsLog(self.output, self.first_step)

    def go(self, stop: StopRequest, progress: ProgressCallback | None) -> TrainSummary:
        """Do the steps that are left."""
        config, started = self.config, time.perf_counter()
        averages, figures, valid_loss = Averages(), {"loss": math.nan}, None
        batches = self._batches()
        since, logged = started, self.first_step
        try:
            for step in range(self.first_step, config.steps):
                stopped, done = self.stepper.do(step, batches, averages, stop), step + 1
                self.average.update(self.model, step)
                if done % config.log_every == 0 or done == config.steps:
                    figures = averages.take()
                    figures["learning_rate"] = self.stepper.model.optimizer.param_groups[0]["lr"]
                    figures["examples_per_s"] = (done - logged) * config.batch_size / (time.perf_counter() - since)
                    self._log(done, figures)
                    since, logged = time.perf_counter(), done
                if progress is not None:
                    progress(done, config.steps, figures)
                before = time.perf_counter()
                valid_loss = self._at_intervals(done, valid_loss)
                since += time.perf_counter() - before  # the speed is that of the steps alone
                if stopped and done < config.steps:
                    self._stop(done, stop)
        finally:
            batches.close()  # type: ignore[attr-defined]
            if self.log is not None:
                self.log.close()
        return TrainSummary(
            output=str(self.output),
            checkpoint=str(self._checkpoint(config.steps)),
            steps=config.steps,
            loss=figures["loss"],
            valid_loss=valid_loss,
            seconds=time.perf_counter() - started,
        )

    def _batches(self) -> Iterator[Any]:
        return micro_batches(
            self.task.examples,
            first_step=self.first_step,
            batch_size=self.config.batch_size,
            parts=self.config.grad_accum,
            rank=self.accelerator.process_index,
            world_size=self.accelerator.num_processes,
            num_threads=self.config.data.num_threads,
            prefetch_batches=self.config.data.prefetch_batches,
        )

    def _at_intervals(self, done: int, valid_loss: float | None) -> float | None:
        """Validate, save and preview when it is time; returns the newest validation loss."""
        config = self.config

        def due(every: int) -> bool:
            return every > 0 and (done % every == 0 or done == config.steps)

        if due(config.validate_every) and self.log is not None and self.task.held_out is not None:
            figures = self._validate()
            self._log(done, figures)
            valid_loss = figures["valid_loss"]
        if due(config.fad_every) and self.distance is not None:
            self._log(done, self.distance.measure(cast(LatentGenerator, self.average.model)))
        if due(config.checkpoint_every) or done == config.steps:
            self._save(done)
        if due(config.preview_every) and self.log is not None:
            from .preview import write_previews

            folder = self.output / "previews" / f"{done:08d}"
            write_previews(self.task, self.average.model, config.preview, folder, done, self.log)
        return valid_loss

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Figures of the averaged weights on fixed crops with fixed noise.

        The objective is told the run's last step, so that figures of different steps compare.
        """
        config, averages = self.config, Averages()
        size = config.batch_size // self.accelerator.num_processes // config.grad_accum
        assert self.task.held_out is not None
        for number, batch in enumerate(fixed_batches(self.task.held_out, config.data.valid_examples, size)):
            generator = keyed_noise(self.accelerator.device, "held out", number)
            batch = batch.to(self.accelerator.device)
            with self.accelerator.autocast():
                loss, metrics = self.task.objective(
                    cast(nn.Module, self.average.model), batch, step=config.steps, generator=generator
                )
            averages.add({"loss": loss, **metrics}, weight=len(batch))
        return {f"valid_{name}": value for name, value in averages.take().items()}

    def _log(self, done: int, figures: dict[str, float]) -> None:
        if self.log is not None:
            self.log.write(done, figures)
            logger.info("step %d: %s", done, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def _stop(self, done: int, stop: StopRequest) -> None:
        if self.saved_step != done:
            self._save(done)
        raise TrainingError(
            f"stopped by {stop.name or 'a signal to another process'} after step {done}; {self._checkpoint(done)} is "
            "saved: run the same command again to go on"
        )

    def _save(self, done: int) -> None:
        if self.accelerator.is_main_process:
            scaler = self.accelerator.scaler
            progress = Progress(
                step=done,
                samples_seen=done * self.config.batch_size,
                config=config_to_dict(self.config),
                scaler=scaler.state_dict() if scaler is not None else {},
            )
            tensors = optimizer_tensors(self.stepper.model.optimizer, self.stepper.model.module)
            folder, keep = self.output / "checkpoints", self.config.keep_checkpoints
            critic = None if self.stepper.critic is None else _critic_state(self.stepper.critic)
            path = save_checkpoint(folder, progress, self.model, self.average.model, tensors, keep, critic)
            logger.info("saved %s", path)
        self.saved_step = done
        self.accelerator.wait_for_everyone()

    def _checkpoint(self, done: int) -> Path:
        return self.output / "checkpoints" / f"{done:08d}"


def _critic_state(critic: Trainee) -> CriticState:
    weights = {name: value.detach().cpu().contiguous() for name, value in critic.module.state_dict().items()}
    return CriticState(weights=weights, optimizer=optimizer_tensors(critic.optimizer, critic.module))
