"""Sizes of a diffusion transformer, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ...core.config import option
from ..base import TokenizerBinding, TrainedOn
from ..conditioning import ConditioningConfig


@dataclass(frozen=True, kw_only=True)
class DiffusionTransformerConfig:
    """Sizes of a diffusion transformer."""

    binding: TokenizerBinding = option(help="Codec whose latents are modelled. Training fills it in.")
    width: int = option(512, "Width of the network.")
    depth: int = option(12, "Number of transformer blocks.")
    heads: int = option(8, "Number of attention heads.")
    mlp_ratio: float = option(2.75, "Hidden width of the gated MLP, in units of the width.")
    conditioning: ConditioningConfig = option(factory=ConditioningConfig, help="Conditions that can be asked for.")
    max_frames: int = option(8192, "Length of the longest item in latent frames.")
    attention: Literal["full", "chunk_causal", "both"] = option(
        "full",
        "Which frames see each other: all, or each block and those before it, which streaming needs. `both` is trained "
        "in turns; it samples like chunk_causal, and like full where something is given after what is sampled.",
    )
    block_chunks: int = option(1, "Chunks of the codec in a block, which chunk_causal and both sample together.")
    past_blocks: int | None = option(
        None, "Blocks before its own that a block sees with chunk_causal. By default as many as max_frames holds."
    )
    rotary_base: float = option(10_000.0, "Base of the rotary positions.")
    average_velocity: bool = option(
        False,
        "Whether the network also gives the average velocity over an interval of times, for sampling in few steps. "
        "Training with objective.kind=mean_flow turns it on.",
    )
    one_step: bool = option(
        False,
        "Whether the network was trained to reach data from any time in one step, for the solver pingpong. Training "
        "with objective.kind=adversarial turns it on.",
    )
    trained_on: TrainedOn = option(factory=TrainedOn, help="Facts about the training data. Training fills them in.")

    def __post_init__(self) -> None:
        if min(self.width, self.depth, self.heads, self.max_frames) < 1 or self.mlp_ratio <= 0:
            raise ValueError("width, depth, heads, max_frames and mlp_ratio must be positive")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(f"heads {self.heads} must divide width {self.width} into even parts")
        binding, dim = self.binding, self.binding.spec.latent_dim
        if self.block_chunks < 1 or (self.past_blocks is not None and self.past_blocks < 1):
            raise ValueError(
                f"block_chunks and past_blocks must be at least 1, got {self.block_chunks} and {self.past_blocks}"
            )
        if self.attention != "full" and self.max_frames < 2 * self.block_frames:
            raise ValueError(
                f"max_frames {self.max_frames} must hold two blocks of {self.block_frames} frames with attention "
                f"{self.attention}"
            )
        if not len(binding.latent_mean) == len(binding.latent_std) == dim:
            raise ValueError(
                f"a diffusion transformer needs mean and standard deviation of each of the {dim} latent channels, "
                f"got {len(binding.latent_mean)} and {len(binding.latent_std)}: encode the dataset with its latents"
            )
        if min(binding.latent_std) <= 0:
            raise ValueError(f"latent_std must be positive, got {min(binding.latent_std)}")

    @property
    def block_frames(self) -> int:
        """Latent frames of a block."""
        return self.block_chunks * self.binding.spec.chunk_latents

    @property
    def window_blocks(self) -> int:
        """Blocks before its own that a block sees with chunk_causal: no more than in training."""
        longest = self.max_frames
        if self.trained_on.crop_s is not None:
            longest = min(longest, round(self.trained_on.crop_s * self.binding.spec.latent_rate_hz))
        return max(1, min(self.past_blocks or longest, longest // self.block_frames - 1))
