"""Spectrogram <-> tokens: the convolutional patchifier (down) and de-patchifier (up) and the features between them."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import torch
from torch import Tensor, nn

from .blocks import ConvBlock, Downsample, ScaledGroupNorm, Upsample, xavier, zeroed
from .config import CoDiCodecConfig


def merge(x: Tensor, feature: Tensor | None) -> Tensor:
    """Adds a cross-connection, keeping the variance."""
    return x if feature is None else (x + feature) / sqrt(2)


class Levels(nn.Module):
    """Residual blocks at several resolutions with a resampler between each two: the common part of both directions."""

    def _build(
        self,
        resampler: type[Downsample] | type[Upsample],
        widths: Sequence[int],
        counts: Sequence[int],
        factors: Sequence[tuple[int, int]],
        noise_channels: int | None,
    ) -> None:
        """Builds the layers; each direction calls it in between its own layers, since the order decides the random
        weights.
        """
        self.levels = nn.ModuleList(
            nn.ModuleList(ConvBlock(width, noise_channels) for _ in range(count))
            for width, count in zip(widths, counts, strict=True)
        )
        self.resamplers = nn.ModuleList(resampler(*sizes) for sizes in zip(widths, widths[1:], factors, strict=False))

    def _run(self, x: Tensor, noise: Tensor | None, features: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Returns the output map [M, W, F, L], and the map after each residual block, last first.

        Args:
            x: the input map.
            noise: the noise embedding, where norms are conditioned on it.
            features: of the other direction, in the order in which they are merged into the input of the blocks.
        """
        incoming = iter(features or ())
        outgoing = []
        for level, blocks in enumerate(self.levels):
            for block in blocks:  # type: ignore[attr-defined]
                x = block(merge(x, next(incoming, None)), noise)
                outgoing.append(x)
            if level < len(self.resamplers):
                x = self.resamplers[level](x)
        return x, outgoing[::-1]


class Patchifier(Levels):
    """Spectrogram [M, 2C, F, L] -> tokens [M, S, W], frequency-major, and the map after each residual block.

    It takes `extra_channels` more maps than the spectrogram has.
    """

    def __init__(self, config: CoDiCodecConfig, noise_channels: int | None = None, extra_channels: int = 0):
        super().__init__()
        widths = config.conv_channels
        self.conv_in = xavier(nn.Conv2d(config.spectrum_channels + extra_channels, widths[0], 3, padding=1))
        self._build(Downsample, widths, config.conv_blocks, config.resampling, noise_channels)

    def forward(
        self, x: Tensor, gain: Tensor, noise: Tensor | None = None, features: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs the way down.

        Args:
            x: spectrogram [M, 2C, F, L].
            gain: [M or 1, 1, F, 1], applied after the first convolution.
            noise: [M or 1, E] if the norms are conditioned on it.
            features: of an up path, deepest last.

        Returns:
            Tokens [M, S, W], and the map after each residual block.
        """
        x = self.conv_in(x.contiguous(memory_format=torch.channels_last)) * gain
        x, outgoing = self._run(x, noise, features)
        return x.flatten(2).transpose(1, 2), outgoing


class Depatchifier(Levels):
    """Tokens [M, S, W] -> feature maps on the way up; with an output layer also the spectrogram [M, 2C, F, L]."""

    def __init__(self, config: CoDiCodecConfig, noise_channels: int | None = None, output: bool = True):
        super().__init__()
        self.patch_grid = config.patch_grid
        widths = config.conv_channels[::-1]
        self._build(Upsample, widths, config.conv_blocks[::-1], config.resampling[::-1], noise_channels)
        if output:
            self.norm_out = ScaledGroupNorm(widths[-1], noise_channels)
            self.conv_out = zeroed(nn.Conv2d(widths[-1], config.spectrum_channels, 3, padding=1))

    def forward(
        self, tokens: Tensor, noise: Tensor | None = None, features: list[Tensor] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Runs the way up.

        Args:
            tokens: [M, S, W].
            noise: [M or 1, E] if the norms are conditioned on it.
            features: of the way down.

        Returns:
            The last map [M, C0, F, L], and the map after each residual block, shallowest first.
        """
        # tokens are position-major, which is what channels_last memory holds: no copy
        x = tokens.unflatten(1, self.patch_grid).permute(0, 3, 1, 2)
        return self._run(x.contiguous(memory_format=torch.channels_last), noise, features)

    def output(self, x: Tensor, gain: Tensor, noise: Tensor) -> Tensor:
        """Applies the output layers.

        Args:
            x: the last map [M, C0, F, L].
            gain: [M or 1, 1, F, 1], applied before the last convolution.
            noise: [M or 1, E].

        Returns:
            Spectrogram [M, 2C, F, L].
        """
        spectrogram: Tensor = self.conv_out(self.norm_out(x, noise) * gain)
        return spectrogram
