"""The interface between the training loop and anything that can be trained: a loss from a model and a batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn


class Objective(ABC):
    """`loss, metrics = objective(model, batch, step=step, generator=generator)`.

    It is built as `Objective(config, model.settings)`, the config being a `config_class` of the keys of
    `model.objective`. One that trains a codec has an attribute `num_samples`, the length of an example.

    The model may be wrapped (DistributedDataParallel, torch.compile), so an objective calls `model(...)` and nothing
    else of it. All randomness comes from `generator`, all else from the arguments: a resumed run repeats an
    uninterrupted one. Random tensors are drawn by `core.random.rand`, `randn` and `stratified` in shapes [B, ...], so
    that an example's noise is its own in however many parts a batch is computed.

    Attributes:
        uses_all_parameters: each backward pass reaches every parameter that learns, of the model and of a critic,
            whatever the batch holds. If it is False, several processes search the graph for unused ones in each step.
        trains_given: parts of an example are given to the generator in training, as `Given` does in sampling.
    """

    config_class: ClassVar[type]
    uses_all_parameters: bool = False
    trains_given: bool = False

    @abstractmethod
    def __init__(self, config: Any, settings: Any):
        """Takes a `config_class` and the config of the model that is to be trained."""

    @abstractmethod
    def __call__(
        self, model: nn.Module, batch: Any, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the scalar loss to minimise and named scalars to log (detached)."""

    def weight(self, batch: Any) -> float:
        """Returns how much a part of a batch counts compared with the others; by default its number of examples.

        The step's loss is the mean over all parts, those of other processes included, with these weights. An objective
        that averages over something else, such as real frames, returns their number.
        """
        return float(len(batch))

    def prepare(self, model: nn.Module) -> None:
        """Prepares the bare model, once, before optimiser and averaged weights are built.

        Parts that are not to learn are frozen here, and weights that a run starts from are put in. When a run is
        resumed, its own weights are loaded afterwards.
        """
        return None

    def warm_start(self, model: nn.Module, batches: Iterable[Any]) -> None:
        """Called once, on the bare model of a run that begins with random weights, before averaged weights are made.

        Args:
            model: in which to set what the data give, such as means or principal components.
            batches: the examples of the run from the first one on, without end; take as many as are needed.
        """
        return None

    def to(self, device: torch.device | str) -> Self:
        """Moves the networks that the objective owns, if there are any."""
        return self


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Returns the loss of an objective's named terms; those of weight 0 are left out, so that they have no gradient."""
    weighted = [weights[name] * term for name, term in terms.items() if weights[name]]
    return sum(weighted[1:], weighted[0])


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Within this context, `module` passes gradients to its input and collects none in its parameters."""
    wanted = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


@dataclass(frozen=True, kw_only=True)
class CriticPair:
    """The pair that a critic is trained to distinguish, outside any graph."""

    real: Tensor  # [B, ...] an example, such as audio [B, C, N]
    fake: Tensor  # [B, ...] the output of the model for it


class AdversarialObjective(Objective):
    """An objective with a second network, the critic (discriminator), that is trained against the model.

    In each step the loop updates the model with `model_loss`, then the critic with `critic_loss` on the output of that
    same forward pass: the model runs once per step. The critic has its own optimiser and is saved and resumed with the
    run, but it is not part of the model. Stable Codec's released code alternates instead: even steps train the codec,
    odd ones the critic, each with all computations of both.

    The critic that `model_loss` uses must not collect gradients (see `frozen`).

    Attributes:
        critic: None where no term of the loss needs one; the loop then trains the model alone, and calls neither
            `critic_loss` nor `trains_critic`.
    """

    critic: nn.Module | None

    def __call__(
        self, model: nn.Module, batch: Any, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics, _ = self.model_loss(model, batch, step=step, generator=generator)
        return loss, metrics

    @abstractmethod
    def model_loss(
        self, model: nn.Module, batch: Any, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor], CriticPair]:
        """Computes the model's loss.

        Args:
            model: the model, perhaps wrapped.
            batch: a training batch.
            step: the optimiser step, 0 being the first.
            generator: the source of all randomness.

        Returns:
            The scalar loss to minimise, named scalars to log (detached), and the pair to train the critic on.
        """

    @abstractmethod
    def critic_loss(self, critic: nn.Module, pair: CriticPair) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the critic's scalar loss to minimise and named scalars to log (detached).

        `critic` is `self.critic`, perhaps wrapped: call it once, since DistributedDataParallel allows one forward pass
        per backward pass.
        """

    def trains_critic(self, step: int) -> bool:
        """Returns whether the critic is updated in optimiser step `step`, 0 being the first."""
        return True

    def to(self, device: torch.device | str) -> Self:
        if self.critic is not None:
            self.critic.to(device)
        return self


@dataclass(kw_only=True)
class AudioBatch:
    """A batch of audio crops to train a codec on."""

    audio: Tensor  # [B, C, N] float at the codec's rate
    ids: list[str]  # the item that each crop is from, for messages

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> AudioBatch:
        """Returns the same batch with its audio on `device`."""
        return AudioBatch(audio=self.audio.to(device, non_blocking=True), ids=self.ids)


def first_audio(batches: Iterable[AudioBatch], num_examples: int) -> Tensor:
    """Returns the audio [M, C, N] of the first batches that together have `num_examples` examples: M is at least that.

    Args:
        batches: of examples of one length, such as `Objective.warm_start` gets.
        num_examples: the number wanted.
    """
    parts: list[Tensor] = []
    for batch in batches:
        parts.append(batch.audio)
        if sum(map(len, parts)) >= num_examples:
            break
    return torch.cat(parts)
