"""The decoder: residual convolutions around a transformer, then spectra. Shape letters: B batch, T frames, W width.

The transformer has no positions. Upstream's rotary embedding uses the number of the head as the position, the same for
queries and keys, and so has no effect: positions come from the convolutions alone, and a rotary embedding over time
would be wrong for the released weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.attention import attend
from ...layers.norm import RMSNorm
from .head import SpectralHead

GROUPS = 32  # of the group norms, whose statistics run over the whole time axis
NORM_EPS = 1e-6
STEM_KERNEL = 7


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """Sizes of the decoder."""

    width: int = 1024
    depth: int = 12  # transformer blocks
    num_heads: int = 16
    mlp_ratio: int = 4
    residual_blocks: int = 2  # convolutional ones, on either side of the transformer
    dropout: float = 0.1  # in those, while training
    hop_samples: int = 480  # of a frame
    window_samples: int = 1920  # of its spectrum

    def __post_init__(self) -> None:
        if self.width % GROUPS or self.width < 2 * GROUPS or self.width % self.num_heads:
            # at least two channels per group: a single frame would have no deviation otherwise
            raise ValueError(
                f"width must be a multiple of {GROUPS}, at least {2 * GROUPS}, and one of num_heads {self.num_heads}, "
                f"got {self.width}"
            )
        if self.window_samples % self.hop_samples or (self.window_samples - self.hop_samples) % 2:
            raise ValueError(
                f"window_samples {self.window_samples} must be a multiple of hop_samples {self.hop_samples}, and the "
                "difference must be even"
            )
        if self.window_samples // self.hop_samples < 2:
            raise ValueError(f"a window of {self.window_samples} samples does not overlap the next one")


class Decoder(nn.Module):
    """Decoder from embeddings [B, T, in_width] to audio [B, 1, T * hop]."""

    def __init__(self, config: DecoderConfig, in_width: int):
        super().__init__()
        width = config.width
        self.project_in = nn.Linear(in_width, width)
        self.stem = nn.Conv1d(width, width, STEM_KERNEL, padding=STEM_KERNEL // 2)
        self.pre, self.post = (
            nn.Sequential(*(ResidualBlock(width, config.dropout) for _ in range(config.residual_blocks)))
            for _ in range(2)
        )
        self.blocks = nn.Sequential(
            *(TransformerBlock(width, config.num_heads, config.mlp_ratio) for _ in range(config.depth))
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.head = SpectralHead(width, config.window_samples, config.hop_samples)

    def forward(self, embedding: Tensor) -> Tensor:
        x = self.pre(self.stem(self.project_in(embedding).mT))
        x = self.post(self.blocks(x.mT).mT)
        audio: Tensor = self.head(self.norm(x.mT))
        return audio


class ResidualBlock(nn.Module):
    """Residual convolutions on [B, W, T]."""

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, width, eps=NORM_EPS)
        self.conv1 = nn.Conv1d(width, width, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, width, eps=NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        out: Tensor = x + self.conv2(self.dropout(F.silu(self.norm2(y))))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm attention over all frames and MLP on [B, T, W]."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int):
        super().__init__()
        self.num_heads = num_heads
        self.attn_norm = RMSNorm(width, NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.attn_out = nn.Linear(width, width, bias=False)
        self.mlp_norm = RMSNorm(width, NORM_EPS)
        self.mlp_up = nn.Linear(width, mlp_ratio * width, bias=False)
        self.mlp_down = nn.Linear(mlp_ratio * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        heads = self.qkv(self.attn_norm(x)).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # [B, heads, T, features] each
        x = x + self.attn_out(attend(q, k, v).transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp_down(F.silu(self.mlp_up(self.mlp_norm(x))))
        return out
