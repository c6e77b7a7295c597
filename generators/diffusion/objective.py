"""Rectified flow: learn the velocity from data to noise on straight paths (Liu et al., arXiv 2209.03003).

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.objective import Objective
from ...core.random import rand, randn
from ..base import LatentBatch
from ..conditioning.drops import draw_drops
from ..parts.keep import KeepPatterns, draw_keep
from .dit import DiffusionTransformerConfig
from .normalise import normalise

NUM_BUCKETS = 4  # of the diffusion time, for the logged losses


@dataclass(frozen=True, kw_only=True)
class RectifiedFlowConfig:
    """Options of `RectifiedFlowObjective`."""

    time_distribution: Literal["logit-normal", "uniform"] = option(
        "logit-normal", "Distribution of the diffusion time in training (SD3, arXiv 2403.03206)."
    )
    logit_mean: float = option(0.0, "Mean of the logit-normal distribution; above 0 the latents are noisier.")
    logit_std: float = option(1.0, "Standard deviation of the logit-normal distribution.")
    cond_drop_prob: float = option(0.1, "Probability that all conditions of an item are dropped.")
    keep_patterns: KeepPatterns = option(
        factory=KeepPatterns, help="How often parts of an example are given, for continuation and inpainting."
    )

    def __post_init__(self) -> None:
        if not 0 <= self.cond_drop_prob <= 1:
            raise ValueError(f"cond_drop_prob is a probability, got {self.cond_drop_prob}")
        if self.logit_std <= 0:
            raise ValueError(f"logit_std must be positive, got {self.logit_std}")


class RectifiedFlowObjective(Objective):
    """loss = mean over real frames of |v(x_t, t) - (noise - x0)|^2 with x_t = (1 - t) x0 + t noise, x0 normalised.

    Frames that are given stand at t = 0 and have no loss.
    """

    config_class = RectifiedFlowConfig
    uses_all_parameters = True

    def __init__(self, config: RectifiedFlowConfig, settings: DiffusionTransformerConfig):
        self.config, self.binding, self.conditioning = config, settings.binding, settings.conditioning
        self.trains_given = config.keep_patterns.any_given

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of batch latents [B, T, D] as the codec gives them.

        Raises:
            ValueError: no latents, latents of another codec, or an item without a real frame.
        """
        if batch.latents is None:
            raise ValueError(
                "diffusion needs latents, but the batch has none: encode the dataset with its latent stream"
            )
        clean = normalise(batch.latents, self.binding)
        mask = batch.latent_mask
        if mask is None:
            mask = torch.ones(clean.shape[:2], dtype=torch.bool, device=clean.device)
        fewest = int(mask.sum(1).min())
        if fewest == 0:
            raise ValueError("an item of the batch has no real latent frame: its mask is False throughout")
        clean = clean.masked_fill(~mask[..., None], 0.0)
        t = self.draw_times(clean, generator)
        noise = randn(clean.shape, generator, clean)
        drop = draw_drops(self.conditioning, self.config.cond_drop_prob, len(clean), generator, clean)
        kept = self.draw_kept_frames(mask, generator)
        times = t if kept is None else t[:, None].masked_fill(kept, 0.0)  # [B] or [B, T]
        at = times.view(len(clean), -1, 1)
        noisy = (1.0 - at) * clean + at * noise
        # fused attention kernels take no mask tensor, so a full batch passes none
        padding = None if fewest == mask.shape[1] else mask
        velocity = model(noisy, times, conditions=batch.conditions, mask=padding, drop_mask=drop)
        error = (velocity.float() - (noise - clean)).square().mean(-1)  # [B, T], float32 also under autocast
        learned = mask if kept is None else mask & ~kept
        per_item = (error * learned).sum(1) / learned.sum(1)
        loss = (error * learned).sum() / learned.sum()
        return loss, _bucket_losses(per_item.detach(), t)

    def draw_kept_frames(self, mask: Tensor, generator: torch.Generator) -> Tensor | None:
        """Returns which frames [B, T] bool of items with a mask [B, T] are given; None where none ever is."""
        if not self.trains_given:
            return None
        chunk = self.binding.spec.chunk_latents
        kept = draw_keep(self.config.keep_patterns, mask.sum(1) // chunk, mask.shape[1] // chunk, generator)
        return kept.repeat_interleave(chunk, 1)

    def draw_times(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Returns times [B], one random offset and B even steps, so that each batch covers all noise levels
        (arXiv 2107.00630).
        """
        batch = len(like)
        u = (rand((), generator, like) + torch.arange(batch, device=like.device) / batch) % 1.0
        if self.config.time_distribution == "uniform":
            return u
        normal = torch.special.ndtri(u.clamp(1e-5, 1 - 1e-5))
        return torch.sigmoid(self.config.logit_mean + self.config.logit_std * normal)


def _bucket_losses(per_item: Tensor, t: Tensor) -> dict[str, Tensor]:
    """Returns the mean loss [] over the items of each quarter of the time axis; 0 where a small batch has none."""
    bucket = (t * NUM_BUCKETS).long().clamp(0, NUM_BUCKETS - 1)
    losses = {}
    for k in range(NUM_BUCKETS):
        inside = bucket == k
        name = f"loss_t{k / NUM_BUCKETS:.2f}_{(k + 1) / NUM_BUCKETS:.2f}"
        losses[name] = (per_item * inside).sum() / inside.sum().clamp_min(1)
    return losses
