"""Root-mean-square norms (Zhang and Sennrich, arXiv 1910.07467)."""

from __future__ import annotations

from typing import Any, cast

import torch
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
    trains_on_cpu = torch.is_grad_enabled() and x.device.type == "cpu" and x.dtype == torch.float32
    if trains_on_cpu and gain.ndim == 1 and not torch.compiler.is_compiling():
        least = torch.finfo(x.dtype).eps if eps is None else eps
        return cast(Tensor, cast(Any, _TrainedOnCPU).apply(x, gain.float(), least))
    return F.rms_norm(x, gain.shape, gain.to(x.dtype), eps)


class _TrainedOnCPU(torch.autograd.Function):
    """`rms_norm` with its gradient in few passes over memory: torch has no kernel of it for the CPU.

    With n = x / rms(x), y = gain * n and g the gradient of y: that of the gain is sum(g * n), that of x is
    (gain * g - n * mean(gain * g * n)) / rms(x).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, gain)
        ctx.eps = eps
        return x.mul(_inverse_rms(x, eps)).mul_(gain)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (g,), (x, gain) = gradients, ctx.saved_tensors
        inverse = _inverse_rms(x, ctx.eps)
        n = x * inverse
        weighted = g * n
        mean = (weighted @ gain).unsqueeze(-1) / x.shape[-1]
        return (g * gain - n * mean) * inverse, weighted.flatten(0, -2).sum(0), None


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return (norm.square() / x.shape[-1] + eps).rsqrt()


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` by `rms_norm`: its weight takes the dtype of the input."""

    def __init__(self, width: int, eps: float = 1e-6):
        super().__init__(width, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., W] to [..., W]."""
        return rms_norm(x, self.weight, self.eps)
