"""Random patterns of given chunks, with which a generator is trained for every kind of `Given`.

Shape letters: B batch.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ...core.config import option
from ...core.random import rand

NUM_GAPS = 3  # of the pattern `gaps`; they may overlap
DRAWS = 1 + 2 * NUM_GAPS  # random numbers of an item: its pattern, and length and place of each gap


@dataclass(frozen=True, kw_only=True)
class KeepPatterns:
    """How often each pattern is drawn, as weights whose sum does not matter."""

    none: float = option(0.5, "Weight of examples of which nothing is given.")
    prefix: float = option(0.2, "Weight of examples whose start is given: continuation.")
    suffix: float = option(0.05, "Weight of examples whose end is given.")
    gap: float = option(0.15, "Weight of examples that are given around one gap: inpainting.")
    gaps: float = option(0.1, "Weight of examples that are given around up to three gaps.")

    def __post_init__(self) -> None:
        if min(self.weights) < 0 or not sum(self.weights):
            raise ValueError(f"the weights of keep patterns must be 0 or more and not all 0, got {self.weights}")

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(float(getattr(self, field.name)) for field in fields(self))

    @property
    def any_given(self) -> bool:
        """Whether a pattern that gives something is ever drawn."""
        return sum(self.weights) > self.none


def draw_keep(patterns: KeepPatterns, num_chunks: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Draws a pattern for each item and its place. At least one chunk of an item is never given.

    Args:
        patterns: how often each is drawn.
        num_chunks: [B] chunks of each item, on the device of the result.
        most: chunks of the longest item.
        generator: source of the draws.

    Returns:
        [B, most] bool, True where a chunk is given.
    """
    draws = rand((len(num_chunks), DRAWS), generator, num_chunks.new_zeros((), dtype=torch.float32))
    bounds = torch.tensor(patterns.weights, device=draws.device).cumsum(0)
    kind = torch.searchsorted(bounds[:-1].contiguous(), draws[:, 0] * bounds[-1], right=True)[:, None]  # [B, 1]
    count = num_chunks[:, None]
    # of one gap any length is as likely, of several each is short; no gap is empty
    longest = torch.where(kind == 4, (count / NUM_GAPS).ceil(), count - 1).clamp_min(1)
    lengths = 1 + (draws[:, 1::2] * longest).long()  # [B, NUM_GAPS]
    starts = (draws[:, 2::2] * (count - lengths + 1)).long()
    starts = torch.where(kind == 1, count - lengths, torch.where(kind == 2, 0, starts))
    lengths, starts = torch.where(kind == 0, count, lengths), torch.where(kind == 0, 0, starts)
    chunk = torch.arange(most, device=draws.device)
    inside = (chunk >= starts[..., None]) & (chunk < (starts + lengths)[..., None])  # [B, NUM_GAPS, most]
    several = torch.where(kind == 4, inside.any(1), inside[:, 0])
    return ~several & (chunk < count)
