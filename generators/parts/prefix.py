"""Conditions before a sequence, as many as each item has. Shape letters: B batch, P positions, W width."""

from __future__ import annotations

from torch import Tensor


def left_padded(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Returns the positions with padding before what is real, so that no distance depends on the padding.

    What follows a prefix is then as far from each of its positions as in a batch of one.

    Args:
        x: [B, P, W] embeddings.
        mask: [B, P] bool, True where a position is real; None: all are.
    """
    if mask is None:
        return x, None
    order = mask.int().argsort(stable=True, dim=1)
    return x.gather(1, order.unsqueeze(-1).expand_as(x)), mask.gather(1, order)
