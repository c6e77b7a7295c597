"""The building blocks of TAAE's network. Sequences are time-major, [B, T, W], throughout.

Shape letters: B batch, T frames of the layer's own rate, W width, H heads, E features of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.attention import Mask, attend
from ...layers.mlp import GatedMLP
from ...layers.rotary import rotary_angles, rotate_halves
from .config import TAAEConfig

Rotation = tuple[Tensor, Tensor]  # cos and sin [T, 1, rotary_dim / 2] of consecutive frames


def frame_rotation(config: TAAEConfig, first: int, count: int, device: torch.device) -> Rotation:
    """Returns the rotary angles of consecutive frames of a rate, the same for each of its blocks.

    Args:
        config: of the codec.
        first: position of the first frame.
        count: number of frames.
        device: of the result.

    Returns:
        Cosines and sines [count, 1, rotary_dim / 2].
    """
    positions = torch.arange(first, first + count, device=device)
    angles = rotary_angles(positions, config.rotary_dim, config.rotary_base).unsqueeze(1)
    return angles.cos(), angles.sin()


class FrameConv(nn.Conv1d):
    """Convolution over frames that turns T frames into T / stride, with zeros around the sequence.

    It pads kernel - stride frames in all: both sides alike (the odd one before), or all before in a causal one, whose
    frame t then sees inputs up to the last of its own, stride * (t + 1) - 1.
    """

    def __init__(
        self, in_width: int, out_width: int, kernel: int, stride: int = 1, causal: bool = False, bias: bool = True
    ):
        super().__init__(in_width, out_width, kernel, stride=stride, bias=bias)
        padding = kernel - stride
        self.before = padding if causal else (padding + 1) // 2
        self.after = padding - self.before

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, W] to [B, T / stride, W']; T is a multiple of the stride."""
        return self.without_padding(F.pad(x, (0, 0, self.before, self.after)))

    def without_padding(self, x: Tensor) -> Tensor:
        """Maps [B, T, W] to [B, (T - kernel) / stride + 1, W']: the frames whose inputs are all in x."""
        return F.conv1d(x.transpose(1, 2), self.weight, self.bias, self.stride).transpose(1, 2).contiguous()


class FrameTransposedConv(nn.ConvTranspose1d):
    """Transposed convolution with kernel 2 * stride that turns T frames into stride * T.

    Every output frame is made of two input frames. Of the stride * (T + 1) frames of the full result, ceil(stride / 2)
    at the start are left out, in a causal one none, and the rest at the end.
    """

    def __init__(self, in_width: int, out_width: int, stride: int, causal: bool = False):
        super().__init__(in_width, out_width, 2 * stride, stride=stride)
        self.skip = 0 if causal else (stride + 1) // 2

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """Maps [B, T, W] to [B, stride * T, W']."""
        return self.in_full(x)[:, self.skip :][:, : self.stride[0] * x.shape[1]].contiguous()

    def in_full(self, x: Tensor) -> Tensor:
        """Maps [B, T, W] to [B, stride * (T + 1), W'], nothing left out."""
        return F.conv_transpose1d(x.transpose(1, 2), self.weight, self.bias, self.stride).transpose(1, 2)


class Snake(nn.Module):
    """Snake activation x + sin(a x)^2 / b (arXiv 2006.08195) with a and b learned as logarithms (arXiv 2206.04658)."""

    def __init__(self, width: int):
        super().__init__()
        self.log_frequency = nn.Parameter(torch.zeros(width))
        self.log_damping = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return x + (x * self.log_frequency.exp()).sin().square() / self.log_damping.exp()


class WindowedAttention(nn.Module):
    """Multi-head self-attention within a sliding window: normed queries and keys, partly rotated."""

    def __init__(self, config: TAAEConfig):
        super().__init__()
        self.config = config
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.q_norm = nn.LayerNorm(config.head_dim, eps=config.qk_norm_eps)
        self.k_norm = nn.LayerNorm(config.head_dim, eps=config.qk_norm_eps)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values [B, H, T, E] of x [B, T, W], normed and rotated."""
        q, k, v = (part.unflatten(-1, (-1, self.config.head_dim)) for part in self.qkv(x).chunk(3, dim=-1))
        q, k = (rotate_halves(t, *rotation).to(v.dtype) for t in (self.q_norm(q), self.k_norm(k)))
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def mix(self, q: Tensor, k: Tensor, v: Tensor, mask: Mask, first_query: int = 0) -> Tensor:
        """Attends from queries to keys and values; see `layers.attention.attend`.

        Args:
            q: [B, H, T, E].
            k: [B, H, S, E].
            v: [B, H, S, E].
            mask: which keys a query sees.
            first_query: position of query 0 among the keys.

        Returns:
            [B, T, W].
        """
        mixed = attend(q, k, v, mask, first_query=first_query)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP, each scaled per feature as it joins the residual (LayerScale, arXiv 2103.17239)."""

    def __init__(self, config: TAAEConfig):
        super().__init__()
        # the large eps keeps near-silence from being amplified
        self.attention_norm = nn.LayerNorm(config.width, config.norm_eps, bias=False)
        self.attention = WindowedAttention(config)
        self.attention_scale = nn.Parameter(torch.full((config.width,), config.layer_scale_init))
        self.mlp_norm = nn.LayerNorm(config.width, config.norm_eps, bias=False)
        self.mlp = GatedMLP(config.width, config.mlp_ratio * config.width, bias=True, gate_first=False)
        self.mlp_scale = nn.Parameter(torch.full((config.width,), config.layer_scale_init))

    def forward(self, x: Tensor, rotation: Rotation, mask: Mask) -> Tensor:
        """Applies the block.

        Args:
            x: [B, T, W].
            rotation: of the T frames; see `frame_rotation`.
            mask: which frames a frame sees.

        Returns:
            [B, T, W].
        """
        return self.join(x, self.attention.mix(*self.project(x, rotation), mask))

    def project(self, x: Tensor, rotation: Rotation) -> tuple[Tensor, Tensor, Tensor]:
        """Returns queries, keys and values [B, H, T, E] of x [B, T, W]."""
        return self.attention.project(self.attention_norm(x), rotation)

    def join(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Returns the residual x [B, T, W] with the output of attention for it, then with the MLP's part."""
        x = x + mixed * self.attention_scale
        out: Tensor = x + self.mlp(self.mlp_norm(x)) * self.mlp_scale
        return out
