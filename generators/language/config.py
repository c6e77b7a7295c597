"""Sizes of a token language model, and what follows from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ...core.config import option
from ..base import TokenizerBinding, TrainedOn
from ..conditioning import ConditioningConfig


@dataclass(frozen=True, kw_only=True)
class TokenLMConfig:
    """Sizes of a token language model."""

    binding: TokenizerBinding = option(help="Codec whose tokens are modelled. Training fills it in.")
    width: int = option(512, "Width of the network.")
    depth: int = option(12, "Number of transformer layers.")
    heads: int = option(8, "Number of attention heads.")
    mlp_ratio: float = option(2.75, "Hidden width of the gated MLP, in units of the width.")
    digit_width: int = option(128, "Width of the small network that gives the digits of a token one after the other.")
    conditioning: ConditioningConfig = option(factory=ConditioningConfig, help="Conditions that can be asked for.")
    max_frames: int = option(
        4096, "Length of the context in token frames. Longer items are sampled with a window that moves on."
    )
    patch_frames: int = option(
        1, "Token frames that one step of the network gives. More make sampling faster and the model weaker."
    )
    rotary_base: float = option(10_000.0, "Base of the rotary positions.")
    add_conditions: bool = option(
        False,
        "Whether the vector of the conditions is added to every frame, in addition to standing before the first one: "
        "conditions that hold for the whole item, such as a style, are learned sooner.",
    )
    ends: bool = option(
        False, "Whether the network also learns where items end, which sampling then decides; such as for speech."
    )
    trained_on: TrainedOn = option(factory=TrainedOn, help="Facts about the training data. Training fills them in.")

    def __post_init__(self) -> None:
        sizes = (self.width, self.depth, self.heads, self.digit_width)
        if min(sizes) < 1 or self.mlp_ratio <= 0:
            raise ValueError("width, depth, heads, mlp_ratio and digit_width must be positive")
        if self.width % self.heads or self.width // self.heads % 4:
            raise ValueError(f"heads {self.heads} must divide width {self.width} into multiples of 4")
        if self.patch_frames < 1:
            raise ValueError(f"patch_frames must be at least 1, got {self.patch_frames}")
        if self.max_frames < self.unit_frames:
            raise ValueError(
                f"max_frames must hold {self.unit_frames} token frames, which are whole chunks of "
                f"{self.binding.spec.chunk_tokens} and whole patches of {self.patch_frames}, got {self.max_frames}"
            )

    @property
    def unit_frames(self) -> int:
        """The fewest token frames that are whole chunks and whole patches."""
        return math.lcm(self.binding.spec.chunk_tokens, self.patch_frames)

    @property
    def window_patches(self) -> int:
        """Patches of the context, in whole chunks."""
        return self.max_frames // self.unit_frames * self.unit_frames // self.patch_frames

    @property
    def window_step(self) -> int:
        """Patches by which a full window moves on: half of it, in whole chunks."""
        units = max(1, self.max_frames // self.unit_frames // 2)
        return units * self.unit_frames // self.patch_frames
