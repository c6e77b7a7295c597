"""Rectified flow: learn the velocity from data to noise on straight paths (Liu et al., arXiv 2209.03003).

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ...core.config import option
from ...core.objective import Objective
from ...core.random import keyed_generator, rand, randn, stratified
from ..base import LatentBatch
from ..conditioning.drops import draw_drops
from ..parts.keep import KeepPatterns, draw_keep
from ..parts.normalise import training_latents
from ..parts.times import check_shift, shift_factor, shift_times
from .config import DiffusionTransformerConfig
from .coupling import pair_optimally
from .frame_times import FrameTimes
from .noisy import NoisyBatch, mixed
from .own_past import OwnPast, make_past
from .past import Past

NUM_BUCKETS = 4  # of the diffusion time, for the logged losses
# flag of a generator's config -> the objective that turns it on
TRAINED_WITH = {"average_velocity": "mean_flow", "one_step": "adversarial"}


@dataclass(frozen=True, kw_only=True)
class RectifiedFlowConfig:
    """Options of `RectifiedFlowObjective`."""

    time_distribution: Literal["logit-normal", "uniform"] = option(
        "logit-normal", "Distribution of the diffusion time in training (SD3, arXiv 2403.03206)."
    )
    logit_mean: float = option(0.0, "Mean of the logit-normal distribution; above 0 the latents are noisier.")
    logit_std: float = option(1.0, "Standard deviation of the logit-normal distribution.")
    time_shift: float = option(
        1.0, "Factor by which times are moved towards noise, whatever their distribution; 1 shifts nothing."
    )
    shift_frames: int | None = option(
        None,
        "Length in latent frames whose factor is time_shift; the factor grows with the square root of the length. By "
        "default the length has no effect.",
    )
    coupling: Literal["independent", "minibatch_ot"] = option(
        "independent", "How noise and examples are paired: at random, or by optimal transport within a batch."
    )
    cond_drop_prob: float = option(0.1, "Probability that all conditions of an item are dropped.")
    keep_patterns: KeepPatterns = option(
        factory=KeepPatterns, help="How often parts of an example are given, for continuation and inpainting."
    )
    full_share: float = option(
        0.5, "Share of the training steps of a generator with attention both in which all frames see each other."
    )
    past_noise: float = option(
        0.0, "Highest noise level of the past that a block sees with chunk_causal or both; it makes streams robust."
    )
    own_past: OwnPast = option(factory=OwnPast, help="Training behind a past that the model made itself.")

    def __post_init__(self) -> None:
        if not 0 <= self.cond_drop_prob <= 1:
            raise ValueError(f"cond_drop_prob is a probability, got {self.cond_drop_prob}")
        if self.logit_std <= 0:
            raise ValueError(f"logit_std must be positive, got {self.logit_std}")
        check_shift(self.time_shift, self.shift_frames)
        if not 0 < self.full_share < 1:
            raise ValueError(
                f"full_share must lie in 0..1, both excluded, got {self.full_share}: choose the attention chunk_causal "
                "or full for one of them alone"
            )
        if not 0 <= self.past_noise < 1:
            raise ValueError(f"past_noise must lie in 0..1, 1 excluded, got {self.past_noise}")


class RectifiedFlowObjective(Objective):
    """loss = mean over real frames of |v(x_t, t) - (noise - x0)|^2 with x_t = (1 - t) x0 + t noise, x0 normalised.

    Frames that are given stand at t = 0 and have no loss; the others of the item count for them.
    """

    config_class = RectifiedFlowConfig
    uses_all_parameters = True
    trains: ClassVar[str | None] = None  # the flag of the generator's config that it turns on

    def __init__(self, config: RectifiedFlowConfig, settings: DiffusionTransformerConfig):
        for flag, kind in TRAINED_WITH.items():
            if getattr(settings, flag) and flag != self.trains:
                raise ValueError(f"this objective would undo what objective.kind={kind} trained: train with that again")
        self.config, self.binding, self.conditioning = config, settings.binding, settings.conditioning
        self.attention = settings.attention
        self.block = 0 if settings.attention == "full" else settings.block_frames  # frames; 0: no blocks
        for name, value in (("past_noise", config.past_noise), ("own_past", config.own_past.probability)):
            if value and not self.block:
                raise ValueError(f"{name} is for a generator with attention chunk_causal or both: leave it out")
        self.trains_given = config.keep_patterns.any_given

    def weight(self, batch: LatentBatch) -> float:
        """Returns the number of real frames."""
        return float(len(batch) if batch.latent_mask is None else batch.latent_mask.sum())

    def __call__(
        self, model: nn.Module, batch: LatentBatch, *, step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the loss of batch latents [B, T, D] as the codec gives them.

        Raises:
            ValueError: no latents, latents of another codec, or an item without a real frame.
        """
        noisy = self.draw(model, batch, step, generator)
        velocity = model(noisy.latents, noisy.times, **noisy.inputs)
        error = (velocity.float() - noisy.velocity).square().mean(-1)  # [B, T], float32 also under autocast
        return noisy.average(noisy.per_item(error)), bucket_losses(error.detach(), noisy.drawn.each(), noisy.learned)

    def draw(self, model: nn.Module, batch: LatentBatch, step: int, generator: torch.Generator) -> NoisyBatch:
        """Returns a batch with times, noise and given parts, ready for the network.

        Args:
            model: the network, perhaps wrapped, which may make the past of its blocks.
            batch: its latents [B, T, D] as the codec gives them.
            step: the optimizer step.
            generator: source of all randomness.

        Raises:
            ValueError: no latents, latents of another codec, or an item without a real frame.
        """
        clean, mask = training_latents(batch, self.binding)
        block = self._block_in(step)
        drawn = self.draw_frame_times(clean, block, generator)
        drawn = replace(drawn, values=shift_times(drawn.values, self._shift(mask, block)))
        noise = randn(clean.shape, generator, clean)
        if self.config.coupling == "minibatch_ot":
            noise = pair_optimally(clean, noise, mask)
        drop = draw_drops(self.conditioning, self.config.cond_drop_prob, len(clean), generator, clean)
        kept = self.draw_kept_frames(mask, block, generator)
        # fused attention kernels take no mask tensor, so a full batch passes none
        padding = None if bool(mask.all()) else mask
        inputs: dict[str, Any] = {"conditions": batch.conditions, "mask": padding, "drop_mask": drop}
        if block:
            inputs["past"] = self._past(self._seen_blocks(model, clean, step, generator, inputs), generator)
        return NoisyBatch(clean=clean, noise=noise, mask=mask, drawn=drawn, kept=kept, inputs=inputs)

    def _block_in(self, step: int) -> int:
        """Returns the frames of a block in training step `step`, the same in all processes; 0: no blocks."""
        # a validation loss, which has no gradient, is to be compared with those of other runs
        if self.attention != "both" or not torch.is_grad_enabled():
            return self.block
        is_full = float(torch.rand((), generator=keyed_generator("attention", step))) < self.config.full_share
        return 0 if is_full else self.block

    def draw_frame_times(self, clean: Tensor, block: int, generator: torch.Generator) -> FrameTimes:
        """Returns the times of latents: one for an item, or one for each of its blocks.

        Args:
            clean: [B, T, D] latents.
            block: frames of a block; 0 where the frames are not in blocks.
            generator: source of the times.
        """
        if not block:
            return FrameTimes.of(self.draw_times(clean, generator))
        drawn = [self.draw_times(clean, generator) for _ in range(self._num_blocks(clean))]
        return FrameTimes(torch.stack(drawn, 1), self._block_of_frames(clean))

    def draw_kept_frames(self, mask: Tensor, block: int, generator: torch.Generator) -> Tensor | None:
        """Returns which frames [B, T] bool are given; None where none ever is.

        In blocks all earlier ones are seen anyway, so that each block has a pattern of its own.

        Args:
            mask: [B, T] bool, True where a frame is real.
            block: frames of a block; 0 where the frames are not in blocks.
            generator: source of the patterns.
        """
        if not self.trains_given:
            return None
        chunk = self.binding.spec.chunk_latents
        chunks, most = mask.sum(1) // chunk, mask.shape[1] // chunk
        if block:
            size = block // chunk
            starts = torch.arange(0, most, size, device=mask.device)
            counts = (chunks[:, None] - starts).clamp(0, size)  # [B, blocks]
            kept = draw_keep(self.config.keep_patterns, counts.flatten(), size, generator)
            kept = kept.view(len(mask), -1)[:, :most]
        else:
            kept = draw_keep(self.config.keep_patterns, chunks, most, generator)
        return kept.repeat_interleave(chunk, 1)

    def _shift(self, mask: Tensor, block: int) -> Tensor | float:
        """Returns the factor of the time shift: [B, 1] by the real frames of items, or one for all."""
        config = self.config
        if config.shift_frames is None or block:  # blocks all have one length
            return shift_factor(block, config.time_shift, config.shift_frames)
        return config.time_shift * (mask.sum(1, keepdim=True) / config.shift_frames).sqrt()

    def _seen_blocks(
        self, model: nn.Module, clean: Tensor, step: int, generator: torch.Generator, inputs: dict[str, Any]
    ) -> Tensor:
        """Returns the blocks [B, T, D] that later ones see: those of the example, or those that the model makes."""
        own = self.config.own_past
        # a validation loss, which has no gradient, is to be compared with those of other steps and runs
        if not torch.is_grad_enabled() or not own.is_due(step):
            return clean
        return make_past(model, clean, own, generator, **inputs)

    def _past(self, blocks: Tensor, generator: torch.Generator) -> Past:
        """Returns the past of a chunk-causal transformer: blocks [B, T, D], perhaps with noise."""
        if not self.config.past_noise:
            return Past(latents=blocks, t=FrameTimes(blocks.new_zeros(len(blocks), 1)))
        drawn = self.config.past_noise * rand((len(blocks), self._num_blocks(blocks)), generator, blocks)
        level = FrameTimes(drawn, self._block_of_frames(blocks))
        return Past(latents=mixed(blocks, randn(blocks.shape, generator, blocks), level.each()), t=level)

    def _num_blocks(self, clean: Tensor) -> int:
        return -(-clean.shape[1] // self.block)

    def _block_of_frames(self, clean: Tensor) -> Tensor:
        """Returns the number [B, T] of the block of each frame."""
        return (torch.arange(clean.shape[1], device=clean.device) // self.block).expand(clean.shape[:2])

    def draw_times(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """Returns times [B], stratified so that each batch covers all noise levels."""
        u = stratified(len(like), generator, like)
        if self.config.time_distribution == "uniform":
            return u
        normal = torch.special.ndtri(u.clamp(1e-5, 1 - 1e-5))
        return torch.sigmoid(self.config.logit_mean + self.config.logit_std * normal)


def bucket_losses(error: Tensor, t: Tensor, learned: Tensor) -> dict[str, Tensor]:
    """Returns the mean error [] of the frames in each quarter of the time axis; NaN where a small batch has none.

    Args:
        error: [B, T] of each frame.
        t: [B, 1 or T] times.
        learned: [B, T] bool, the frames that count.
    """
    bucket = (t * NUM_BUCKETS).long().clamp(0, NUM_BUCKETS - 1)
    losses = {}
    for k in range(NUM_BUCKETS):
        inside = (bucket == k) & learned
        name = f"loss_t{k / NUM_BUCKETS:.2f}_{(k + 1) / NUM_BUCKETS:.2f}"
        losses[name] = (error * inside).sum() / inside.sum()
    return losses
