"""The norm of queries, keys and cross-attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import rms_norm


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` whose weight follows its input, so that the fused kernel also serves under autocast."""

    def __init__(self, width: int):
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
