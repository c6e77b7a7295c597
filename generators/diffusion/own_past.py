"""A past that a chunk-causal transformer made itself, for training: streams see nothing else.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.random import keyed_generator, randn
from ..parts.times import time_grid
from .frame_times import FrameTimes
from .past import Past


@dataclass(frozen=True, kw_only=True)
class OwnPast:
    """How often, and how, blocks are trained behind blocks that the model made itself."""

    probability: float = option(
        0.0, "Share of the training steps whose blocks see a past that the model made itself; with blocks."
    )
    steps: int = option(2, "Sampling steps of that past. Each costs a forward pass, in those training steps alone.")
    level: float = option(
        0.5,
        "Noise level that it is made from. 1 makes it from noise alone; below 1 it stays close to the example, so that "
        "what follows in the example still follows from it.",
    )

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1 or not 0 < self.level <= 1 or self.steps < 1:
            raise ValueError(
                "own_past needs a probability in 0..1, a level above 0 and at most 1, and steps of at least 1, got "
                f"{self.probability}, {self.level} and {self.steps}"
            )

    def is_due(self, step: int) -> bool:
        """Returns whether training step `step` is one of them, the same in all processes."""
        return float(torch.rand((), generator=keyed_generator("own past", step))) < self.probability


@torch.no_grad()
def make_past(model: nn.Module, clean: Tensor, options: OwnPast, generator: torch.Generator, **inputs: Any) -> Tensor:
    """Returns the blocks of all items as the model makes them, each behind the true blocks before it, [B, T, D].

    All blocks are sampled at once, as they are trained.

    Args:
        model: the transformer, perhaps wrapped.
        clean: [B, T, D] normalised latents.
        options: how the blocks are sampled.
        generator: source of the noise.
        inputs: further arguments of the transformer, such as conditions.
    """
    past = Past(latents=clean, t=FrameTimes(clean.new_zeros(len(clean), 1)))
    x = (1.0 - options.level) * clean + options.level * randn(clean.shape, generator, clean)
    for t, to in pairwise(time_grid(options.level, options.steps, 1.0)):
        velocity = model(x, x.new_full((len(x),), t), past=past, **inputs)
        x = x + (to - t) * velocity.to(x.dtype)
    return x
