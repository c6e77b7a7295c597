"""One optimizer step of the model, and of the critic of an adversarial objective."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...core.configured import ConfiguredModel
from ...core.errors import TrainingError
from ...core.objective import AdversarialObjective, CriticPair, Objective
from .config import TrainConfig
from .environment import batch_noise, processes_of
from .log import Averages
from .optim import learning_rate_factor
from .state import load_critic
from .stop import StopRequest
from .trainee import Trainee


class Stepper:
    """Trains a model and, for an adversarial objective, its critic, each with its own optimizer.

    Raises:
        ValueError: the config has options of a critic, and the objective has none.
    """

    def __init__(self, config: TrainConfig, accelerator: Any, objective: Objective, model: ConfiguredModel):
        self.config, self.accelerator = config, accelerator
        self.processes = processes_of(accelerator)
        self.objective = objective.to(accelerator.device)
        self.model = Trainee(
            cast(nn.Module, model),
            config.optimizer,
            accelerator,
            uses_all_parameters=objective.uses_all_parameters,
            compile=config.compile,
            gradient_checkpointing=config.gradient_checkpointing,
            sharded=config.shard and self.processes.count > 1,
        )
        self.critic = self._make_critic()

    def _make_critic(self) -> Trainee | None:
        config = self.config
        if self.model.sharded and isinstance(self.objective, AdversarialObjective):
            raise ValueError("a model that is trained with a critic cannot be sharded: leave shard out")
        critic = self.objective.critic if isinstance(self.objective, AdversarialObjective) else None
        if critic is not None:
            if config.model.init_critic_from is not None:
                load_critic(critic, Path(config.model.init_critic_from))
            return Trainee(
                critic.train(),
                config.critic_optimizer or config.optimizer,
                self.accelerator,
                uses_all_parameters=self.objective.uses_all_parameters,
            )
        given = {"critic_optimizer": config.critic_optimizer, "model.init_critic_from": config.model.init_critic_from}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"{name} is given, but {type(self.objective).__name__} has no critic, or its terms have weight 0: "
                    "leave it out"
                )
        return None

    def do(self, step: int, batches: Iterator[Any], averages: Averages, stop: StopRequest) -> bool:
        """Does one step.

        Args:
            step: number of the step; the first one is 0.
            batches: gives the parts of the step's batch.
            averages: takes the figures.
            stop: says whether this process was asked to stop.

        Returns:
            Whether any process was asked to stop.

        Raises:
            TrainingError: NaN or inf in a loss or a gradient.
        """
        config = self.config
        factor = learning_rate_factor(step, config.steps, config.schedule)
        self.model.set_rate(factor)
        parts = [next(batches) for _ in range(config.grad_accum)]
        weights = [self.objective.weight(part) for part in parts]
        shares = self._shares(weights)
        losses, ids, pairs = [], [], []
        for number, part in enumerate(parts):
            with self.model.part(last=number == len(parts) - 1):
                loss, metrics, pair = self._model_loss(part, step, number)
                self.accelerator.backward(loss * shares[number])
            averages.add({"loss": loss, **metrics}, weights[number])
            losses.append(loss.detach().float())
            ids += part.ids
            if self.critic is not None and pair is not None:
                pairs.append(pair)
        asked, finite = self._agree(stop.name is not None, torch.stack(losses))
        self._update(self.model, "", finite, _Place(step, ids, losses), averages)
        if self.critic is not None and cast(AdversarialObjective, self.objective).trains_critic(step):
            self.critic.set_rate(factor)
            self._train_critic(self.critic, step, ids, pairs, averages)
        return asked

    def _shares(self, weights: list[float]) -> Tensor:
        """Returns the factors of the losses of this process' parts.

        Gradients are summed over parts and averaged over processes: with these factors the result is the weighted mean
        over all parts of all processes.
        """
        mine = torch.tensor(weights, device=self.accelerator.device)
        return mine * self.processes.count / self.processes.sum(mine.sum())

    def _model_loss(self, part: Any, step: int, number: int) -> tuple[Tensor, dict[str, Tensor], CriticPair | None]:
        """Returns the loss of a part of the step's batch; which examples it holds is what `micro_batches` says."""
        device, total = self.accelerator.device, self.config.batch_size
        first = number * len(part)
        positions = self.processes.share(total)[first : first + len(part)]
        generator, batch = batch_noise(device, (self.config.seed, step), positions, total), part.to(device)
        if isinstance(self.objective, AdversarialObjective):
            return self.objective.model_loss(self.model.wrapped, batch, step=step, generator=generator)
        return *self.objective(self.model.wrapped, batch, step=step, generator=generator), None

    def _train_critic(
        self, critic: Trainee, step: int, ids: list[str], pairs: list[CriticPair], averages: Averages
    ) -> None:
        """Updates the critic, after the model, since the gradient scale of fp16 may change with each update."""
        losses = []
        for part, pair in enumerate(pairs):
            with critic.part(last=part == len(pairs) - 1):
                loss, metrics = cast(AdversarialObjective, self.objective).critic_loss(critic.wrapped, pair)
                self.accelerator.backward(loss / len(pairs))
            averages.add({"critic_loss": loss, **metrics})
            losses.append(loss.detach().float())
        _, finite = self._agree(False, torch.stack(losses))
        self._update(critic, "critic_", finite, _Place(step, ids, losses), averages)

    def _update(self, trainee: Trainee, prefix: str, finite: bool, place: _Place, averages: Averages) -> None:
        """Does the optimizer's step of the model or the critic if loss and gradient are finite."""
        whose = prefix.replace("_", " ")
        if not finite:
            raise TrainingError(place.not_finite(f"the {whose}loss"))
        norm = trainee.clip(self.config.clip_norm)
        # inf is normal with gradient scaling (fp16), which skips such a step by itself
        if self.accelerator.scaler is None and not torch.isfinite(norm):
            raise TrainingError(place.not_finite(f"the {whose}gradient"))
        averages.add({f"{prefix}gradient_norm": norm})
        trainee.update()

    def _agree(self, stop: bool, losses: Tensor) -> tuple[bool, bool]:
        """Returns whether any process was asked to stop, and whether the losses of all processes are finite."""
        flags = torch.stack([torch.full_like(losses[0], float(stop)), (~torch.isfinite(losses)).any().float()])
        stops, bad = self.processes.sum(flags).tolist()
        return stops > 0, bad == 0


class _Place:
    """The place in the run where something happened, for a message."""

    def __init__(self, step: int, ids: list[str], losses: list[Tensor]):
        self.step, self.ids, self.losses = step, ids, losses

    def not_finite(self, what: str) -> str:
        values = ", ".join(f"{value:g}" for value in torch.stack(self.losses).tolist())
        return (
            f"{what} is NaN or inf at step {self.step} (loss of this process {values}); its batch held "
            f"{', '.join(self.ids)}: look at these items or lower the learning rate; the last checkpoint is from before"
        )
