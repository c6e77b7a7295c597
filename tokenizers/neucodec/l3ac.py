"""Acoustic encoder of DistillNeuCodec: a light convolutional network after L3AC (arXiv 2504.04949), then attention.

    audio 16 kHz -> stem -> units and downsampling, three times -> units -> 250 Hz
                 -> local attention -> convolution -> local attention -> 50 Hz

Shape letters: B batch, N audio samples, T frames of the layer's own rate, W width of the layer, D output width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..parts.init import BRANCH_GAIN, SPEECH_GAIN, keep_variance_
from .local_attention import LocalTransformer

SNAKE_EPS = torch.finfo(torch.float32).eps  # added to the divisor of Snake
BLOCK_FRAMES = 2048  # of a unit's hidden layer that are computed together in inference: they fit the CPU's cache


@dataclass(frozen=True, kw_only=True)
class DistilAcousticConfig:
    """Sizes of the encoder. The defaults are the released model's."""

    trend_samples: tuple[int, ...] = (1, 5, 11, 21, 45)  # pooling lengths of the stem's bands; 1: the waveform itself
    band_width: int = 4  # channels of each band
    stem_width: int = 80  # hidden channels of the stem
    widths: tuple[int, ...] = (32, 64, 128, 256)  # of each stage
    depths: tuple[int, ...] = (1, 1, 1, 2)  # residual units of each stage
    strides: tuple[int, ...] = (4, 4, 4)  # between the stages; the official fourth is not used
    width: int = 512  # D
    context_stride: int = 5  # between the two transformers
    context_depths: tuple[int, int] = (2, 3)  # layers of the transformer before that stride and of the one after
    window: int = 300  # output frames of an attention window; 6 s
    heads: int = 6
    head_dim: int = 128
    position_width: int = 256  # hidden features of the network of the distance bias

    def __post_init__(self) -> None:
        if not len(self.widths) == len(self.depths) == len(self.strides) + 1:
            raise ValueError(
                f"widths {self.widths} and depths {self.depths} need one entry per stage, strides {self.strides} "
                "one fewer"
            )
        if not self.trend_samples or any(n < 1 or n % 2 == 0 for n in self.trend_samples):
            raise ValueError(f"trend_samples must be odd, got {self.trend_samples}")
        if list(self.trend_samples) != sorted(set(self.trend_samples)):
            raise ValueError(f"trend_samples must ascend, got {self.trend_samples}")
        if min(*self.widths, *self.strides, self.context_stride, self.window, self.width) < 1:
            raise ValueError("widths, strides and window must be at least 1")

    @property
    def hop_samples(self) -> int:
        """Audio samples of an output frame."""
        return math.prod(self.strides) * self.context_stride


class DistilAcousticEncoder(nn.Module):
    """Encoder from audio to frames of D features. It has no norm layer before its transformers."""

    def __init__(self, config: DistilAcousticConfig):
        super().__init__()
        self.config = config
        self.stem = TrendStem(config)
        strides = (*config.strides, None)
        self.stages = nn.ModuleList(
            Stage(width, depth, stride, following)
            for width, depth, stride, following in zip(
                config.widths, config.depths, strides, (*config.widths[1:], 0), strict=True
            )
        )
        self.out = nn.Conv1d(config.widths[-1], config.width, 3, padding=1)
        sizes = config.heads, config.head_dim
        stride, (fine, coarse) = config.context_stride, config.context_depths
        self.context_fine = LocalTransformer(config.width, fine, *sizes, config.window * stride, config.position_width)
        self.context_down = nn.Conv1d(config.width, config.width, stride, stride)
        keep_variance_(self.out)
        keep_variance_(self.context_down)
        self.context_coarse = LocalTransformer(config.width, coarse, *sizes, config.window, config.position_width)

    def forward(self, audio: Tensor) -> Tensor:
        """Maps audio [B, 1, N] to [B, N / hop_samples, D].

        Raises:
            ValueError: another shape, or an N that is not a multiple of the hop.
        """
        hop = self.config.hop_samples
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] == 0 or audio.shape[2] % hop:
            raise ValueError(f"the encoder takes audio [B, 1, N], N a multiple of {hop}, got {tuple(audio.shape)}")
        x = self.stem(audio)
        for stage in self.stages:
            x = stage(x)
        x = self.context_fine(self.out(x).transpose(1, 2))
        x = self.context_down(x.transpose(1, 2)).transpose(1, 2)
        features: Tensor = self.context_coarse(x)
        return features


class TrendStem(nn.Module):
    """Convolutions on the waveform and on its loudness trends of several lengths."""

    def __init__(self, config: DistilAcousticConfig):
        super().__init__()
        self.trend_samples = config.trend_samples
        bands = [nn.Conv1d(1, config.band_width, 7, padding=3) for _ in config.trend_samples]
        self.bands = nn.ModuleList(bands)
        self.expand = nn.Conv1d(config.band_width * len(config.trend_samples), config.stem_width, 1)
        self.merge = nn.Conv1d(config.stem_width + 1, config.widths[0], 1)
        for band in bands:
            keep_variance_(band, SPEECH_GAIN)
        keep_variance_(self.expand)
        keep_variance_(self.merge)

    def forward(self, audio: Tensor) -> Tensor:
        """Maps audio [B, 1, N] to [B, W, N]."""
        pooled = trends(audio, self.trend_samples)
        x = torch.cat([band(trend) for band, trend in zip(self.bands, pooled, strict=True)], dim=1)
        out: Tensor = self.merge(torch.cat([F.gelu(self.expand(x)), audio], dim=1))
        return out


def trends(audio: Tensor, lengths: tuple[int, ...]) -> list[Tensor]:
    """Returns, for each length n, the mean over n samples of the maximum of |audio| over n samples, both centred.

    Lengths ascend. Length 1 gives the audio with its sign. Beyond the ends of audio [B, 1, N] both see zeros.
    """
    pooled, maximum, reach = [], audio.abs(), 1
    for length in lengths:
        # the maximum over n samples is one over fewer samples of the maxima so far
        more = length - reach + 1
        maximum, reach = F.max_pool1d(maximum, more, 1, more // 2), length
        pooled.append(F.avg_pool1d(maximum, length, 1, length // 2) if length > 1 else audio)
    return pooled


class Stage(nn.Module):
    """Residual units, then a convolution whose kernel is its stride; the last stage has no convolution."""

    def __init__(self, width: int, depth: int, stride: int | None, out_width: int):
        super().__init__()
        self.units = nn.ModuleList(Unit(width) for _ in range(depth))
        self.down = None
        if stride is not None:
            self.down = nn.Conv1d(width, out_width, stride, stride)
            keep_variance_(self.down)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, W, T] to [B, W', T / stride]."""
        for unit in self.units:
            x = unit(x)
        return x if self.down is None else self.down(x)


class Unit(nn.Module):
    """Residual unit x + contract(respond(snake(expand(depthwise convolution of x)))), expanded four times.

    `respond` is Global Response Normalisation (arXiv 2301.00808), x (1 + gain n) + bias. The official one computes the
    norm g over time and channels together and then divides it by its mean over channels, which is g again: n = g / (g +
    1.2e-7). Since g n and g differ by at most 1.2e-7, n is taken as 1 here, so that gain and bias can be merged into
    the weights of `contract`; no frame depends on the whole signal.
    """

    def __init__(self, width: int):
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.expand = nn.Linear(width, 4 * width)
        self.frequency = nn.Parameter(torch.ones(4 * width))
        self.response_gain = nn.Parameter(torch.zeros(4 * width))
        self.response_bias = nn.Parameter(torch.zeros(4 * width))
        self.contract = nn.Linear(4 * width, width)
        keep_variance_(self.depthwise)
        keep_variance_(self.expand)
        keep_variance_(self.contract, BRANCH_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, W, T] to [B, W, T]."""
        y = self.depthwise(x)
        weight = self.contract.weight * (1 + self.response_gain)
        bias = self.contract.bias + self.contract.weight @ self.response_bias
        block = x.shape[-1] if torch.is_grad_enabled() else BLOCK_FRAMES
        parts = [self._inner(part, weight, bias) for part in y.split(block, dim=-1)]
        return x + (parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1))

    def _inner(self, y: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Applies the linear layers to frames as columns, which needs no transposition."""
        hidden = self.expand.weight @ y + self.expand.bias[:, None]
        return weight @ snake(hidden, self.frequency[:, None]) + bias[:, None]


def snake(x: Tensor, frequency: Tensor) -> Tensor:
    """Computes the Snake activation x + sin(a x)^2 / (a + eps), a on a linear scale (arXiv 2006.08195)."""
    wave = (x * frequency).sin()
    return torch.addcmul(x, wave.square(), 1 / (frequency + SNAKE_EPS))
