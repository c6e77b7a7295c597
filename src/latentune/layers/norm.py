"""Root-mean-square norms (Zhang and Sennrich, arXiv 1910.07467)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


def rms_norm(x: Tensor, gain: Tensor, eps: float | None) -> Tensor:
    """Normalises the last axis to a root mean square of 1.

    The gain takes the dtype of x, so that torch's fused kernel also serves under autocast.

    Args:
        x: [..., W].
        gain: [W], which scales the result.
        eps: added to the mean square; None: the smallest step of the dtype.

    Returns:
        [..., W].
    """
    return F.rms_norm(x, gain.shape, gain.to(x.dtype), eps)


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` by `rms_norm`: its weight takes the dtype of the input."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., W] to [..., W]."""
        return rms_norm(x, self.weight, self.eps)
