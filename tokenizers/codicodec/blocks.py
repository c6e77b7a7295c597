"""The building blocks of CoDiCodec's network. Only the projections of the noise embedding have a bias.

Shape letters: M chunks, W width, S tokens of one chunk, P groups of H halves (1 or 2 consecutive chunks that are
processed together), E width of the noise embedding. Norms are scaled by a learned gain, or by 1 + projection(noise
embedding) with `noise_channels`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.attention import attend
from ...layers.mlp import GatedMLP
from ...layers.norm import rms_norm

NORM_EPS = 1e-4  # of layer and RMS norms; the group norms keep torch's 1e-5

KeyValue = tuple[Tensor, Tensor]


def zeroed(module: nn.Module) -> nn.Module:
    """Returns the module with all parameters zero, so that a residual branch starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def xavier(module: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """Returns the module with Xavier-uniform weights and zero bias."""
    nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


class ScaledGroupNorm(nn.Module):
    """Group norm over feature maps [M, C, F, T]."""

    def __init__(self, channels: int, noise_channels: int | None = None):
        super().__init__()
        self.groups = min(channels // 4, 32)
        if noise_channels is None:
            self.weight = nn.Parameter(torch.ones(channels))
        else:
            self.project = zeroed(nn.Linear(noise_channels, channels))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Normalises x [M, C, F, T]; noise [M or 1, E] is needed if the norm is conditioned on it."""
        if noise is None:
            return F.group_norm(x, self.groups, self.weight)
        scaled: Tensor = F.group_norm(x, self.groups) * (1 + self.project(noise))[..., None, None]
        return scaled


class ScaledLayerNorm(nn.Module):
    """Layer norm over tokens [..., S, W]."""

    def __init__(self, width: int, noise_channels: int | None = None):
        super().__init__()
        self.width = width
        if noise_channels is None:
            self.weight = nn.Parameter(torch.ones(width))
        else:
            self.project = zeroed(nn.Linear(noise_channels, width))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Normalises x [P, H, S, W]; noise [P or 1, H, E] is needed if the norm is conditioned on it."""
        if noise is None:
            return F.layer_norm(x, (self.width,), self.weight, eps=NORM_EPS)
        scaled: Tensor = F.layer_norm(x, (self.width,), eps=NORM_EPS) * (1 + self.project(noise))[..., None, :]
        return scaled


class ConvBlock(nn.Module):
    """Residual block: norm, conv 3x3, SiLU, conv 3x3."""

    def __init__(self, channels: int, noise_channels: int | None = None):
        super().__init__()
        self.norm = ScaledGroupNorm(channels, noise_channels)
        self.conv1 = xavier(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        self.conv2 = zeroed(nn.Conv2d(channels, channels, 3, padding=1, bias=False))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        out: Tensor = self.conv2(F.silu(self.conv1(self.norm(x, noise)))).add_(x)
        return out


class Downsample(nn.Module):
    """Fewer positions, more channels: a fixed path (average, channels repeated) plus a learned one."""

    def __init__(self, channels: int, out_channels: int, factor: tuple[int, int]):
        super().__init__()
        self.factor, self.repeat = factor, out_channels // channels
        self.norm = ScaledGroupNorm(channels)
        self.conv = zeroed(nn.Conv2d(channels, out_channels, factor, stride=factor, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        fixed = F.avg_pool2d(x, self.factor).repeat_interleave(self.repeat, dim=1)
        out: Tensor = self.conv(self.norm(x)) + fixed
        return out


class Upsample(nn.Module):
    """More positions, fewer channels: a fixed path (channel average, positions repeated) plus a learned one."""

    def __init__(self, channels: int, out_channels: int, factor: tuple[int, int]):
        super().__init__()
        self.factor, self.out_channels = factor, out_channels
        self.norm = ScaledGroupNorm(channels)
        self.conv = zeroed(nn.ConvTranspose2d(channels, out_channels, factor, stride=factor, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        fixed = x.unflatten(1, (self.out_channels, -1)).mean(2)
        out: Tensor = self.conv(self.norm(x)) + F.interpolate(fixed, scale_factor=self.factor, mode="nearest")
        return out


class HalfCausalAttention(nn.Module):
    """Self-attention in which a half sees itself and the half before it, never the one after.

    It needs no mask: the left half attends to itself, the right one to both, so that nothing is computed in vain.
    """

    def __init__(self, width: int, head_dim: int):
        super().__init__()
        self.head_dim = head_dim
        self.qkv = xavier(nn.Linear(width, 3 * width, bias=False))
        self.out = zeroed(nn.Linear(width, width, bias=False))
        self.q_gain = nn.Parameter(torch.ones(head_dim))
        self.k_gain = nn.Parameter(torch.ones(head_dim))

    def forward(self, x: Tensor, past: KeyValue | None, queries: slice) -> tuple[Tensor, KeyValue]:
        """Attends within one half or a pair of halves.

        Args:
            x: [P, H, S, W].
            past: keys and values of the half before; H is 1 then.
            queries: the token positions whose output is needed.

        Returns:
            [P, H, len(queries), W], and the keys and values [P, heads, H * S, head_dim].
        """
        halves = x.shape[1]
        q, k, v = (t.unflatten(-1, (-1, self.head_dim)) for t in self.qkv(x).chunk(3, dim=-1))
        q, k = rms_norm(q[:, :, queries], self.q_gain, NORM_EPS), rms_norm(k, self.k_gain, NORM_EPS)
        q = q.transpose(2, 3)  # [P, H, heads, S', head_dim]
        k, v = (t.flatten(1, 2).transpose(1, 2) for t in (k, v))  # [P, heads, H * S, head_dim]
        keys, values = (k, v) if past is None else (torch.cat((past[0], k), 2), torch.cat((past[1], v), 2))
        if halves == 1:
            mixed = attend(q[:, 0], keys, values).unsqueeze(1)
        else:
            left = x.shape[2]
            first = attend(q[:, 0], k[:, :, :left], v[:, :, :left])
            mixed = torch.stack((first, attend(q[:, 1], k, v)), dim=1)
        return self.out(mixed.transpose(2, 3).flatten(-2)), (k, v)


class TransformerBlock(nn.Module):
    """Pre-norm attention and gated MLP."""

    def __init__(self, width: int, head_dim: int, mlp_ratio: int, noise_channels: int | None = None):
        super().__init__()
        self.attention_norm = ScaledLayerNorm(width, noise_channels)
        self.attention = HalfCausalAttention(width, head_dim)
        self.mlp_norm = ScaledLayerNorm(width, noise_channels)
        self.mlp = GatedMLP(width, mlp_ratio * width // 2)
        xavier(self.mlp.up)
        zeroed(self.mlp.down)

    def forward(
        self, x: Tensor, noise: Tensor | None = None, past: KeyValue | None = None, queries: slice = slice(None)
    ) -> tuple[Tensor, KeyValue]:
        """Applies the block to one half or a pair of halves.

        Args:
            x: [P, H, S, W].
            noise: [P or 1, H, E] if the norms are conditioned on it.
            past: keys and values of the half before; H is 1 then.
            queries: the token positions whose output is needed.

        Returns:
            The tokens at `queries` [P, H, S', W], and this half's keys and values.
        """
        mixed, key_value = self.attention(self.attention_norm(x, noise), past, queries)
        x = x[:, :, queries] + mixed
        return x + self.mlp(self.mlp_norm(x, noise)), key_value
