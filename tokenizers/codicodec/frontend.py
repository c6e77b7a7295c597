"""Spectrogram <-> tokens: the convolutional patchifier (down) and de-patchifier (up) and the features between them."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from .blocks import ConvBlock, Downsample, ScaledGroupNorm, Upsample, xavier, zeroed
from .config import CoDiCodecConfig


def merge(x: Tensor, feature: Tensor | None) -> Tensor:
    """Add a cross-connection, keeping the variance."""
    return x if feature is None else (x + feature) / sqrt(2)


class Patchifier(nn.Module):
    """Spectrogram [M, 2C, F, L] -> tokens [M, S, W], frequency-major, and the map after each residual block."""

    def __init__(self, config: CoDiCodecConfig, noise_channels: int | None = None):
        super().__init__()
        widths, blocks = config.conv_channels, config.conv_blocks
        self.conv_in = xavier(nn.Conv2d(config.spectrum_channels, widths[0], 3, padding=1))
        self.levels = nn.ModuleList(
            nn.ModuleList(ConvBlock(width, noise_channels) for _ in range(count))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.resamplers = nn.ModuleList(
            Downsample(width, wider, factor)
            for width, wider, factor in zip(widths, widths[1:], config.resampling, strict=False)
        )

    def forward(
        self, x: Tensor, gain: Tensor, noise: Tensor | None = None, features: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """gain [M or 1, 1, F, 1] follows the first convolution; `features` come in from an up path, deepest last."""
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last)) * gain
        incoming = iter(features or ())
        outgoing = []
        for level, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(merge(x, next(incoming, None)), noise)
                outgoing.append(x)
            if level < len(self.resamplers):
                x = self.resamplers[level](x)
        return x.flatten(2).transpose(1, 2), outgoing[::-1]


class Depatchifier(nn.Module):
    """Tokens [M, S, W] -> feature maps on the way up; with an output layer also the spectrogram [M, 2C, F, L]."""

    def __init__(self, config: CoDiCodecConfig, noise_channels: int | None = None, output: bool = True):
        super().__init__()
        self.patch_grid = config.patch_grid
        widths, blocks = config.conv_channels[::-1], config.conv_blocks[::-1]
        self.levels = nn.ModuleList(
            nn.ModuleList(ConvBlock(width, noise_channels) for _ in range(count))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.resamplers = nn.ModuleList(
            Upsample(width, narrower, factor)
            for width, narrower, factor in zip(widths, widths[1:], config.resampling[::-1], strict=False)
        )
        if output:
            self.norm_out = ScaledGroupNorm(widths[-1], noise_channels)
            self.conv_out = zeroed(nn.Conv2d(widths[-1], config.spectrum_channels, 3, padding=1))

    def forward(
        self, tokens: Tensor, noise: Tensor | None = None, features: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The last map [M, C0, F, L] and the map after each residual block, shallowest first."""
        # tokens are position-major, which is what channels_last memory holds: no copy
        x = tokens.unflatten(1, self.patch_grid).permute(0, 3, 1, 2)
        x = x.contiguous(memory_format=torch.channels_last)
        incoming = iter(features or ())
        outgoing = []
        for level, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(merge(x, next(incoming, None)), noise)
                outgoing.append(x)
            if level < len(self.resamplers):
                x = self.resamplers[level](x)
        return x, outgoing[::-1]

    def output(self, x: Tensor, gain: Tensor, noise: Tensor) -> Tensor:
        """The last map to a spectrogram [M, 2C, F, L]; gain [M or 1, 1, F, 1] precedes the last convolution."""
        return self.conv_out(self.norm_out(x, noise) * gain)
