"""NeuCodec's bottleneck: eight dimensions of four levels, one codebook of 65,536 entries.

Vocabulary as in `layers/fsq.py`: z is the unbounded projection, `bounded` lies in level units, a `digit` in 0..3 (digit
0 is the least significant two bits of a token), a code is (digit - 2) / 2: one of -1, -0.5, 0, 0.5. The decoder's input
is codes. The continuous stream represents `values`, which lie evenly around 0: the levels at -0.75, -0.25, 0.25, 0.75,
the borders between them at -0.5, 0, 0.5, and all encoder outputs within (-0.70, 0.66). value = code + 0.25.

Shape letters: B batch, T frames, V fused width, d dimensions (8).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...layers import fsq
from ..parts.init import keep_variance_
from ..parts.principal import whitening_projection

WIDENING = 1e-3  # the tanh spans L - 1 levels and this fraction more
START_DEVIATION = 0.9  # of z that `fit` gives: four levels that are bounded twice are then used about alike


@dataclass(frozen=True, kw_only=True)
class QuantiserConfig:
    """Levels of each dimension, and how often z is bounded."""

    levels: tuple[int, ...] = (4,) * 8
    # 2: the released weights were trained with a residual quantiser that bounded z, whose stage bounded it again.
    # With 1, most of their tokens would differ.
    bounds: int = 2

    def __post_init__(self) -> None:
        if not self.levels or min(self.levels) < 2 or any(size % 2 for size in self.levels):
            raise ValueError(f"levels must be even numbers of at least 2, got {self.levels}")
        if self.bounds < 1:
            raise ValueError(f"z is bounded at least once, got bounds {self.bounds}")


class Quantiser(nn.Module):
    """Maps fused frames [B, T, V] to values [B, T, d] and codes, and back to embeddings [B, T, V]."""

    def __init__(self, config: QuantiserConfig, fused_width: int):
        super().__init__()
        self.config = config
        self.project_in = nn.Linear(fused_width, len(config.levels))
        self.project_out = nn.Linear(len(config.levels), fused_width)
        keep_variance_(self.project_in)

    @torch.no_grad()
    def fit(self, fused: Tensor) -> None:
        """Makes z the first principal components of fused frames [M, V], of mean 0 and `START_DEVIATION`."""
        projection = whitening_projection(fused, len(self.config.levels), START_DEVIATION).to(fused.dtype)
        self.project_in.weight.copy_(projection.mT)
        self.project_in.bias.copy_(-fused.mean(0) @ projection)

    def bound(self, z: Tensor) -> Tensor:
        """Returns z [..., d] in level units, between -L/2 and L/2 - 1 and a little beyond (`config.bounds` times)."""
        for _ in range(self.config.bounds):
            z = fsq.bound(z, self.config.levels, -WIDENING, shift="atanh")
        return z

    def values(self, fused: Tensor) -> Tensor:
        """Returns values [B, T, d] in (-1, 1), float32, not rounded, of fused frames [B, T, V]."""
        return self.squash(self.project_in(fused))

    def squash(self, z: Tensor) -> Tensor:
        """Returns values [B, T, d] in (-1, 1), float32, not rounded, of unbounded z [B, T, d]."""
        return self._to_values(self.bound(z.float()))

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Levels of each codebook's dimensions, as in `TokenizerSpec.levels`."""
        return (self.config.levels,)

    def straight_through(self, values: Tensor) -> Tensor:
        """Returns values rounded to levels; the gradient passes as if they were not."""
        return self._to_values(fsq.round_straight_through(self._to_levels(values)))

    def values_to_digits(self, values: Tensor) -> Tensor:
        """Returns the nearest digits [..., d] int64 of values [..., d]."""
        half = self._half(values)
        digits = (self._to_levels(values) + half).round()
        return torch.minimum(digits.clamp_min(0), 2 * half - 1).to(torch.int64)

    def digits_to_values(self, digits: Tensor) -> Tensor:
        """Returns the values [..., d] in the middle of the levels of digits [..., d]."""
        half = self._half(digits.float())
        return self._to_values(digits - half)

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns the nearest tokens [..., 1] of values [..., d]."""
        return fsq.digits_to_indices(self.values_to_digits(values), self.config.levels)[..., None]

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns exactly the values [..., d] that tokens [..., 1] stand for."""
        return self.digits_to_values(fsq.indices_to_digits(tokens[..., 0], self.config.levels))

    def embed(self, values: Tensor) -> Tensor:
        """Returns the decoder's input [B, T, V] of values [B, T, d], rounded or not."""
        codes = self._to_levels(values) / self._half(values)
        embedding: Tensor = self.project_out(codes.to(self.project_out.weight.dtype))
        return embedding

    def _half(self, like: Tensor) -> Tensor:
        return fsq.half_widths(self.config.levels, like)

    def _to_values(self, bounded: Tensor) -> Tensor:
        return (bounded + 0.5) / self._half(bounded)

    def _to_levels(self, values: Tensor) -> Tensor:
        return values * self._half(values) - 0.5
