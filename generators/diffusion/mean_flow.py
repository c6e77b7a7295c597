"""Mean flow: learn the average velocity over an interval of times, to sample in few steps.

With the velocity v at time t, the average velocity u from t down to r obeys u = v - (t - r) du/dt, the derivative being
taken along the path with r fixed (Geng et al., arXiv 2505.13447). At r = t it is the velocity itself, so that a
rectified flow is where it starts.

Shape letters: B batch, T latent frames, D latent width, K different times of an item.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.random import rand
from ..adapters import has_trained_adapter
from ..base import LatentBatch
from .config import DiffusionTransformerConfig
from .derivative import Network, difference, exact_derivative
from .dit import DiffusionTransformer
from .frame_times import FrameTimes
from .noisy import NoisyBatch
from .objective import RectifiedFlowConfig, RectifiedFlowObjective, bucket_losses

LEAST_ERROR = 1e-3  # added to an error that divides the loss


@dataclass(frozen=True, kw_only=True)
class MeanFlowConfig(RectifiedFlowConfig):
    """Options of `MeanFlowObjective`."""

    time_distribution: Literal["logit-normal", "uniform"] = option(
        "uniform", "Distribution of the diffusion time in training (SD3, arXiv 2403.03206)."
    )
    interval_share: float = option(
        0.75, "Share of the examples with an interval; the others are those of rectified flow."
    )
    distill: bool = option(
        False,
        "Take the velocity from the weights that the run starts from, in place of noise and data: less random, and one "
        "more pass per step.",
    )
    guidance_scale: float = option(
        1.0,
        "Scale of classifier-free guidance that is trained into the velocity, which sampling then needs no more; 1 "
        "trains none.",
    )
    derivative: Literal["exact", "difference"] = option(
        "difference",
        "How the change of the average velocity along a path is computed: exactly by forward differentiation, or as a "
        "central difference, which works with every kernel and in fp16 or bf16 loses precision.",
    )
    difference_step: float = option(0.02, "Step of the diffusion time for `difference`.")
    path_steps: int = option(
        0,
        "With `distill`, midpoint steps in which the weights that the run starts from follow each interval: their mean "
        "velocity is learned, and no derivative is needed. 0 learns from the derivative.",
    )
    error_power: float = option(
        1.0, "Power of its own squared error by which the loss of an item is divided; 0 is the mean squared error."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.path_steps < 0 or (self.path_steps and not self.distill):
            raise ValueError(f"path_steps must be 0 or more, and 0 without distill, got {self.path_steps}")
        if not 0 <= self.interval_share <= 1:
            raise ValueError(f"interval_share is a share, got {self.interval_share}")
        if self.guidance_scale <= 0 or not 0 < self.difference_step < 0.5 or self.error_power < 0:
            raise ValueError(
                f"guidance_scale must be above 0, difference_step within 0..0.5 and error_power 0 or more, got "
                f"{self.guidance_scale}, {self.difference_step} and {self.error_power}"
            )


class MeanFlowObjective(RectifiedFlowObjective):
    """loss = mean over items of |u - stop(v - (t - r) du/dt)|^2, each divided by a power of its own value."""

    config_class = MeanFlowConfig
    trains: ClassVar[str | None] = "average_velocity"
    config: MeanFlowConfig

    def __init__(self, config: MeanFlowConfig, settings: DiffusionTransformerConfig):
        super().__init__(config, settings)
        self.teacher: DiffusionTransformer | None = None

    def prepare(self, model: nn.Module) -> None:
        """Gives the network spans, and keeps a copy of it to learn from where `distill` says so.

        Raises:
            ValueError: a model that is not a diffusion transformer or is trained as an adapter, or nothing to distill.
        """
        if not isinstance(model, DiffusionTransformer):
            raise ValueError(f"mean_flow trains a DiffusionTransformer, got a {type(model).__name__}")
        if has_trained_adapter(model):
            raise ValueError("mean_flow adds weights that an adapter does not hold: train without one")
        model.give_average_velocity()
        if self.config.distill:
            if model.trained_on.conditions is None:
                raise ValueError("distill learns from a trained generator: name it in model.init_from")
            network: Any = copy.deepcopy(model)
            self.teacher = network.eval().requires_grad_(False)

    def to(self, device: torch.device | str) -> Self:
        if self.teacher is not None:
            self.teacher.to(device)
        return self

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of batch latents [B, T, D] as the codec gives them.

        Raises:
            ValueError: no latents, latents of another codec, or an item without a real frame.
        """
        noisy = self.draw(model, batch, step, generator)
        noisy = replace(noisy, drawn=replace(noisy.drawn, spans=self.draw_spans(noisy.drawn.values, generator)))
        times = noisy.times
        assert times.spans is not None, "they were drawn"

        def network(x: Tensor, at: FrameTimes) -> Tensor:
            made: Tensor = model(x, at, **noisy.inputs)
            return made

        if self.config.path_steps:
            target = self._mean_along_path(model, noisy)
        else:
            velocity = self._velocity(model, noisy, noisy.latents, times)
            target = velocity - _of_frames(times).unsqueeze(-1) * self._derivative(network, noisy, velocity)
        error = (network(noisy.latents, times).float() - target).square().mean(-1)  # [B, T]
        per_item = noisy.per_item(error)
        weighted = per_item / (per_item.detach() + LEAST_ERROR) ** self.config.error_power
        metrics = bucket_losses(error.detach(), noisy.drawn.each(), noisy.learned)
        return noisy.average(weighted), {"error": noisy.average(per_item.detach()), **metrics}

    def draw_spans(self, t: Tensor, generator: torch.Generator) -> Tensor:
        """Returns how far below times [B, K] the intervals end: anywhere down to 0, or at once."""
        drawn = rand((*t.shape, 2), generator, t)
        return t * drawn[..., 0] * (drawn[..., 1] < self.config.interval_share)

    @torch.no_grad()
    def _velocity(self, model: nn.Module, noisy: NoisyBatch, x: Tensor, times: FrameTimes) -> Tensor:
        """Returns the velocity of x [B, T, D] at the times, with guidance; 0 for frames that are given.

        Without a teacher, x must be the latents of the batch.
        """
        now, scale = replace(times, spans=torch.zeros_like(times.all_spans())), self.config.guidance_scale
        velocity = noisy.velocity
        source: Any = model if self.teacher is None else self.teacher
        if self.teacher is not None:
            velocity = source(x, now, **noisy.inputs).float()
        if scale != 1.0:
            everything = torch.ones(len(velocity), dtype=torch.bool, device=velocity.device)
            plain = source(x, now, **{**noisy.inputs, "drop_mask": everything}).float()
            velocity = plain + scale * (velocity - plain)
        return velocity if noisy.kept is None else velocity.masked_fill(noisy.kept.unsqueeze(-1), 0.0)

    @torch.no_grad()
    def _mean_along_path(self, model: nn.Module, noisy: NoisyBatch) -> Tensor:
        """Returns the mean of the teacher's velocity [B, T, D] over the intervals, by the midpoint rule."""
        x, times, steps = noisy.latents, noisy.times, self.config.path_steps
        part = times.all_spans() / steps
        length = _of_frames(replace(times, spans=part)).unsqueeze(-1)
        total = torch.zeros_like(x)
        for step in range(steps):
            start, middle = (replace(times, values=times.values - (step + share) * part) for share in (0.0, 0.5))
            halfway = x - 0.5 * length * self._velocity(model, noisy, x, start)
            velocity = self._velocity(model, noisy, halfway, middle)
            x, total = x - length * velocity, total + velocity
        return total / steps

    def _derivative(self, network: Network, noisy: NoisyBatch, velocity: Tensor) -> Tensor:
        times, moves = noisy.times, torch.ones_like(noisy.times.values)
        if noisy.kept is not None:
            moves[:, -1] = 0.0  # the time of given frames, which `FrameTimes.given` adds
        if self.config.derivative == "exact":
            return exact_derivative(network, noisy.latents, times, velocity, moves).float()
        return difference(network, noisy.latents, times, velocity, moves, self.config.difference_step)


def _of_frames(times: FrameTimes) -> Tensor:
    """Returns the span of each frame [B, T], or [B, 1] where all frames of an item have the same."""
    return replace(times, values=times.all_spans()).each()
