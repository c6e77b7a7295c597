"""Items of a batch set end to end, so that a transformer computes their real frames and no padding.

Shape letters: B batch, T latent frames of the longest item, N real frames of all items, S condition tokens, W width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...layers.attention import Documents
from .past import View


@dataclass(frozen=True, eq=False)
class Packing:
    """Where the real frames of a batch are, which are the first ones of each item."""

    mask: Tensor  # [B, T] bool, True where a frame is real
    lengths: tuple[int, ...]  # of each item

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """Returns the packing of items with this mask [B, T]."""
        return cls(mask, tuple(mask.sum(1).tolist()))

    def pack(self, x: Tensor) -> Tensor:
        """Returns the real frames [1, N, ...] of x [B, T, ...]; x may also be [B, 1, ...] or [1, T, ...]."""
        whole = x.expand(*self.mask.shape, *x.shape[2:])
        return whole[self.mask].unsqueeze(0)

    def unpack(self, x: Tensor) -> Tensor:
        """Returns frames [1, N, W] at their places [B, T, W], zeros elsewhere."""
        whole = x.new_zeros(*self.mask.shape, x.shape[-1])
        whole[self.mask] = x[0]
        return whole

    def frames_view(self) -> View:
        """Returns what packed frames see of each other: those of their own item."""
        return View(mask=Documents(self.lengths))

    def tokens_view(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, View]:
        """Returns condition tokens [B, S, W] packed to [1, M, W], and what packed frames see of them.

        Args:
            tokens: of each item.
            mask: [B, S] bool, True where a token is real; None: all are.
        """
        if mask is None:
            mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return tokens[mask].unsqueeze(0), View(mask=Documents(self.lengths, tuple(mask.sum(1).tolist())))
