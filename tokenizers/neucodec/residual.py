"""NeuCodec's quantiser with residual codebooks: the kind of codec that the paper compares NeuCodec's tokens with.

Released weights do not have one. Shape letters: B batch, T frames, V fused width, d dimensions of the quantiser, Q
codebooks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..parts.residual import ResidualCodebooks, ResidualConfig
from .quantiser import Quantiser, QuantiserConfig


class ResidualQuantiser(Quantiser):
    """NeuCodec's projections and bounds around residual codebooks."""

    def __init__(self, config: QuantiserConfig, residual: ResidualConfig, fused_width: int):
        super().__init__(config, fused_width)
        self.residual = ResidualCodebooks(residual, len(config.levels))

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return self.residual.levels

    @torch.no_grad()
    def fit(self, fused: Tensor) -> None:
        super().fit(fused)
        self.residual.fit(self.values(fused))

    def straight_through(self, values: Tensor) -> Tensor:
        """Returns values [B, T, d] as sums of their entries; the gradient passes as if they were not coded."""
        return self.residual.straight_through(values)

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns tokens [..., Q] of values [..., d]."""
        return self.residual.values_to_tokens(values)

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns values [..., d] of tokens [..., Q]."""
        return self.residual.tokens_to_values(tokens)
