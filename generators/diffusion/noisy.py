"""A training batch of latents with noise.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

from .frame_times import FrameTimes


@dataclass(frozen=True, kw_only=True, eq=False)
class NoisyBatch:
    """Latents on straight paths to noise, at the times that were drawn for them."""

    clean: Tensor  # [B, T, D] normalised latents, 0 where a frame is padding
    noise: Tensor  # [B, T, D]
    mask: Tensor  # [B, T] bool, True where a frame is real
    drawn: FrameTimes  # of all frames, before any is given
    kept: Tensor | None  # [B, T] bool, True where a frame is given; None: nothing ever is
    inputs: dict[str, Any]  # of the network, in addition to latents and times

    @cached_property
    def times(self) -> FrameTimes:
        """The times of the frames, 0 where they are given."""
        return self.drawn if self.kept is None else self.drawn.given(self.kept)

    @cached_property
    def latents(self) -> Tensor:
        """The latents [B, T, D] that the network sees."""
        return mixed(self.clean, self.noise, self.times.each())

    @property
    def velocity(self) -> Tensor:
        """The velocity [B, T, D] of the paths."""
        return self.noise - self.clean

    @property
    def learned(self) -> Tensor:
        """Which frames [B, T] have a loss: those that are real and not given."""
        return self.mask if self.kept is None else self.mask & ~self.kept

    def per_item(self, error: Tensor) -> Tensor:
        """Returns the mean [B] of an error [B, T] over the frames of each item that have a loss."""
        return (error * self.learned).sum(1) / self.learned.sum(1)

    def average(self, losses: Tensor) -> Tensor:
        """Returns the mean [] of the losses [B] of items, weighted by their real frames.

        The weights do not depend on how much of an item is given, so that parts of a batch can be joined.
        """
        lengths = self.mask.sum(1)
        return (losses * lengths).sum() / lengths.sum()


def mixed(clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Returns latents on their paths to noise.

    Args:
        clean: [B, T, D] latents.
        noise: [B, T, D].
        times: [B, 1 or T] of the frames, 1 being pure noise.

    Returns:
        [B, T, D].
    """
    at = times.unsqueeze(-1)
    return (1.0 - at) * clean + at * noise
