"""Frames that are given: how the network sees them, and which path they take through a solver.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .frame_times import FrameTimes

# of latents [B, T, D], a time, and perhaps the length of the interval below it that is averaged over, [B, T, D] float32
Velocity = Callable[..., Tensor]
Network = Callable[[Tensor, FrameTimes], Tensor]  # of latents [B, T, D] and their times, [B, T, D] float32
ROUNDING = 1e-6  # by which a float32 time may exceed the level that it stands for


@dataclass(frozen=True, kw_only=True)
class KnownFrames:
    """Given latents, and the noise that joins them on straight paths to the latents that a solver starts from.

    A solver need not know which frames are given. On them the velocity is that of the straight path, which every
    solver of an ordinary differential equation follows exactly; once the time has come down to `level`, they are
    denoised like all others.
    """

    latents: Tensor  # [B, T, D] normalised
    where: Tensor  # [B, T] bool, True where a frame is given
    noise: Tensor  # [B, T, D], of all frames
    level: float  # time at which the given frames stand: 0 as they are, 1 pure noise
    own_times: bool  # the network was trained with a time for each frame

    def part(self, rows: list[int], num_frames: int) -> KnownFrames:
        """Returns the first frames of some items."""
        return replace(
            self,
            latents=self.latents[rows, :num_frames],
            where=self.where[rows, :num_frames],
            noise=self.noise[rows, :num_frames],
        )

    def at(self, t: float) -> Tensor:
        """Returns the given latents with noise of time t, [B, T, D]."""
        return (1.0 - t) * self.latents + t * self.noise

    def start(self, t: float) -> Tensor:
        """Returns the latents [B, T, D] that a solver starts from at time t."""
        return torch.where(self.where.unsqueeze(-1), self.at(t), self.noise)

    def renoised(self, x: Tensor, t: float, noise: Tensor) -> Tensor:
        """Returns denoised latents [B, T, D] with new noise; given frames stay on their paths down to `level`.

        Args:
            x: [B, T, D] without noise.
            t: the time of the result.
            noise: [B, T, D].
        """
        moved = (1.0 - t) * x + t * noise
        return moved if t < self.level - ROUNDING else torch.where(self.where.unsqueeze(-1), self.at(t), moved)

    def velocity(self, network: Network) -> Velocity:
        """Returns the velocity for a solver, as a function of latents [B, T, D], a time, and perhaps a span.

        A network with one time for each frame sees given frames at their own level from the first step on. Any other
        one sees them at the noise level of all frames (replacement; Song et al., arXiv 2011.13456, appendix I.2).
        """
        where, path, any_given = self.where.unsqueeze(-1), self.noise - self.latents, bool(self.where.any())

        def velocity(x: Tensor, t: float, span: float | None = None) -> Tensor:
            everywhere = FrameTimes.of(*_filled(x, t, span))
            if not any_given or t < self.level + ROUNDING:
                return network(x, everywhere)
            if not self.own_times:
                return torch.where(where, path, network(torch.where(where, self.at(t), x), everywhere))
            times = torch.where(self.where, self.level, t)
            spans = None if span is None else torch.where(self.where, 0.0, span)
            free = network(torch.where(where, self.at(self.level), x), FrameTimes.of(times, spans))
            return torch.where(where, path, free)

        return velocity


def _filled(x: Tensor, t: float, span: float | None) -> tuple[Tensor, Tensor | None]:
    return x.new_full((len(x),), t), None if span is None else x.new_full((len(x),), span)
