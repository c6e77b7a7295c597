"""A few seconds of a recording through the generator's own codec, such as a voice to speak with.

Shape letters: B batch, T latent frames, D latent width, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...core.config import option
from ..conditions import is_given
from .base import ConditionerConfig, Encoding, padded_length
from .summary import SummaryConditioner


@dataclass(frozen=True, kw_only=True)
class ReferenceConfig(ConditionerConfig):
    """Sizes of the encoder of a recording."""

    latent_dim: int = option(help="Width of the codec's latents.")
    max_frames: int = option(150, "Latent frames of a recording that are read; the rest of a longer one is not.")
    layers: int = option(2, "Number of transformer layers.")
    heads: int = option(4, "Number of attention heads; it divides the width into even parts.")
    num_tokens: int = option(8, "Number of summary tokens per recording.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.latent_dim, self.max_frames, self.layers, self.heads, self.num_tokens) < 1:
            raise ValueError("latent_dim, max_frames, layers, heads and num_tokens must be at least 1")

    def check(self, width: int) -> None:
        if width % self.heads or width // self.heads % 2:
            raise ValueError(f"heads {self.heads} must divide width {width} into even parts")


class ReferenceConditioner(SummaryConditioner):
    """Summary tokens of the latents of a recording. They say how it sounds, and hardly what happens in it when.

    In training a value is a random part of the item itself, or of another item with the same value in a column.
    """

    config_class = ReferenceConfig
    takes_any_value: ClassVar[bool] = True
    takes_audio: ClassVar[bool] = True
    takes_latents: ClassVar[bool] = True

    def __init__(self, width: int, config: ReferenceConfig):
        super().__init__(width, config)
        self.latent_dim, self.max_frames = config.latent_dim, config.max_frames
        self.from_latents = nn.Linear(config.latent_dim, width)
        self._make_summaries(width, config.layers, config.heads, config.num_tokens)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns `latents` [B, T, D] float32 and their `mask` [B, T]; T is a power of two up to `max_frames`.

        Raises:
            ValueError: a value that is not latents [T, D] of this codec, or one with NaN or inf.
        """
        found = [self._checked(value) for value in values]
        length = padded_length(max(map(len, found)), self.max_frames)
        latents = torch.zeros(len(found), length, self.latent_dim)
        for row, frames in zip(latents, found, strict=True):
            row[: len(frames)] = frames
        return {"latents": latents, "mask": torch.arange(length) < torch.tensor([[len(frames)] for frames in found])}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns tokens [B, S, W] and vectors [B, W]."""
        mask = prepared["mask"]
        x = self.from_latents(prepared["latents"].to(self.from_latents.weight.dtype))
        return self._encoding(self._summarize(x, mask), mask.any(1) & ~drop)

    def _checked(self, value: Any) -> Tensor:
        if not isinstance(value, Tensor):
            if is_given(value):
                raise ValueError(
                    f"a reference is latents [frames, {self.latent_dim}] of the generator's codec, or in a pipeline "
                    f"audio with its rate, got a {type(value).__name__}"
                )
            return torch.zeros(0, self.latent_dim)
        if value.ndim != 2 or value.shape[1] != self.latent_dim or not len(value):
            raise ValueError(f"reference latents must be [frames, {self.latent_dim}], got {tuple(value.shape)}")
        if not torch.isfinite(value).all():
            raise ValueError("the reference latents hold NaN or inf")
        return value[: self.max_frames].float().cpu()
