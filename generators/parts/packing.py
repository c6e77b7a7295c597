"""Items of a batch set end to end, so that a transformer computes their real positions and no padding.

Shape letters: B batch, T positions of the longest item, N real positions of all items.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Packing:
    """Where the real positions of a batch are."""

    mask: Tensor  # [B, T] bool, True where a position is real
    lengths: tuple[int, ...]  # real positions of each item

    @classmethod
    def of(cls, mask: Tensor) -> Packing:
        """Returns the packing of items with this mask [B, T]."""
        return cls(mask, tuple(mask.sum(1).tolist()))

    def pack(self, x: Tensor) -> Tensor:
        """Returns what is real [1, N, ...] of x [B, T, ...]; x may also be [B, 1, ...] or [1, T, ...]."""
        whole = x.expand(*self.mask.shape, *x.shape[2:])
        return whole[self.mask].unsqueeze(0)

    def unpack(self, x: Tensor) -> Tensor:
        """Returns x [1, N, ...] at its places [B, T, ...], zeros elsewhere."""
        whole = x.new_zeros(*self.mask.shape, *x.shape[2:])
        whole[self.mask] = x[0]
        return whole
