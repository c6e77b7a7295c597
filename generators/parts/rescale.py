"""Guidance makes latents larger: their deviation is brought back. Shape letters: B batch, T frames, D latent width."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ...core.config import option
from ..base import SamplingConfig


@dataclass(frozen=True, kw_only=True)
class RescaledSampling(SamplingConfig):
    """Options of a sampler of latents."""

    guidance_rescale: float = option(
        0.0, "Share by which the standard deviation after guidance is brought back to that without it."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.guidance_rescale <= 1:
            raise ValueError(f"guidance_rescale must lie in 0..1, got {self.guidance_rescale}")


def rescale(guided: Tensor, asked: Tensor, share: float, mask: Tensor | None = None) -> Tensor:
    """Returns guided latents [B, T, D] whose standard deviation is brought towards that of the unguided ones.

    Lin et al., arXiv 2305.08891, equations 15 and 16.

    Args:
        guided: denoised latents after guidance.
        asked: denoised latents under the conditions as asked.
        share: of the correction, 0 for none and 1 for all of it.
        mask: [B, T] bool, True where a frame is real; None: all are.
    """
    if not share:
        return guided
    factor = _deviation(asked, mask) / _deviation(guided, mask).clamp_min(1e-8)
    return guided * (share * factor + (1.0 - share))


def real_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Returns the mean [B, 1, 1] over the frames of values [B, T, D] where the mask [B, T] is True; None: over all."""
    if mask is None:
        return values.mean((1, 2), keepdim=True)
    real = mask[..., None]
    return (values * real).sum((1, 2), keepdim=True) / (real.sum((1, 2), keepdim=True) * values.shape[-1])


def _deviation(values: Tensor, mask: Tensor | None) -> Tensor:
    return real_mean((values - real_mean(values, mask)).square(), mask).sqrt()
