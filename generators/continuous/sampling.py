"""Options of drawing a chunk, and the drawing. Shape letters: B batch, C values of a chunk, W width, K branches."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from ...core.config import option
from ..base import SamplingConfig
from ..parts.runge_kutta import runge_kutta_step
from ..parts.times import time_grid

if TYPE_CHECKING:
    from .model import ContinuousAR


@dataclass(frozen=True, kw_only=True)
class ContinuousSampling(SamplingConfig):
    """Options of `ContinuousAR.sample`."""

    num_inference_steps: int = option(8, "Number of steps in which a chunk is drawn.", name="steps")
    solver: Literal["euler", "heun", "midpoint"] = option(
        "midpoint", "Solver. A step of heun and midpoint costs two passes of the small network."
    )
    temperature: float = option(
        1.0, "Variance of the noise that chunks are drawn from; below 1 they are more alike, 0 draws no noise."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_inference_steps < 1:
            raise ValueError(f"num_inference_steps must be at least 1, got {self.num_inference_steps}")
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature must lie in 0..2, got {self.temperature}")


def draw_chunk(
    model: ContinuousAR, hidden: Tensor, weights: tuple[float, ...], noise: Tensor, options: ContinuousSampling
) -> Tensor:
    """Returns normalised chunks [B, C] float32.

    Args:
        model: whose head it is.
        hidden: [K * B, W] states that predict the chunk, in all branches of the guidance.
        weights: of the branches.
        noise: [B, C] standard normal.
        options: of the sampler.
    """
    count = len(weights)

    def velocity(x: Tensor, t: float) -> Tensor:
        times = x.new_full((count * len(x),), t)
        branches = model.head(x.repeat(count, 1), times, hidden).float().chunk(count)
        total = torch.zeros_like(x)
        for weight, branch in zip(weights, branches, strict=True):
            total = total + weight * branch
        return total

    x: Tensor = noise * options.temperature**0.5
    for t, to in itertools.pairwise(time_grid(1.0, options.num_inference_steps, 1.0)):
        x = runge_kutta_step(options.solver, velocity, x, t, to)
    return x
