"""The discriminators: of the waveform folded at several periods, and of its spectrogram at several resolutions.

NeuCodec's paper (arXiv 2509.09550) names neither sizes nor losses; the defaults are those of X-Codec 2
(arXiv 2502.04128), which it builds on. The first kind is HiFi-GAN's (arXiv 2010.05646).

Shape letters: B batch, N audio samples, P period, T frames, F frequency bins, W filters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...layers.mel import magnitudes
from ..parts.adversarial import CriticOutput


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """Sizes of the discriminators."""

    periods: tuple[int, ...] = (2, 3, 5, 7, 11)  # samples per row, one network each
    period_filters: int = 16  # of the first layer; each further one has four times as many
    period_max_filters: int = 512
    period_strides: tuple[int, ...] = (3, 3, 3, 3, 1)  # of the layers, along the column
    period_slope: float = 0.1  # of LeakyReLU
    window_samples: tuple[int, ...] = (78, 126, 206, 334, 542, 876, 1418, 2296)  # one network each; hop: half of it
    spectrum_filters: int = 32  # of every layer
    spectrum_strides: tuple[int, ...] = (1, 2, 2, 2)  # of the layers but the last, over frequency
    spectrum_slope: float = 0.2

    def __post_init__(self) -> None:
        if not self.periods and not self.window_samples:
            raise ValueError("periods and window_samples are both empty: there is no discriminator")
        sizes = (*self.periods, *self.period_strides, *self.spectrum_strides, self.period_filters)
        if min(*sizes, self.spectrum_filters, self.period_max_filters) < 1:
            raise ValueError("periods, strides and filters must be at least 1")
        if any(samples < 4 or samples % 2 for samples in self.window_samples):
            raise ValueError(f"window_samples must be even, since the hop is half of each, got {self.window_samples}")


class Critic(nn.Module):
    """All networks of both kinds."""

    def __init__(self, config: CriticConfig):
        super().__init__()
        self.shortest = max((*config.window_samples, *config.periods))
        periods = [PeriodNetwork(config, period) for period in config.periods]
        self.networks = nn.ModuleList([*periods, *(SpectrumNetwork(config, n) for n in config.window_samples)])

    def forward(self, audio: Tensor) -> list[CriticOutput]:
        """Returns the output of each network for audio [B, 1, N].

        Raises:
            ValueError: another shape, or audio shorter than the longest window.
        """
        if audio.ndim != 3 or audio.shape[1] != 1 or audio.shape[2] < self.shortest:
            raise ValueError(
                f"the discriminators take audio [B, 1, N] with N >= {self.shortest} (their longest window), "
                f"got {tuple(audio.shape)}"
            )
        return [network(audio) for network in self.networks]


class PeriodNetwork(nn.Module):
    """Convolutions down the columns of the waveform written in rows of P samples: each column is one phase of it."""

    def __init__(self, config: CriticConfig, period: int):
        super().__init__()
        self.period, self.slope = period, config.period_slope
        widths = [
            min(config.period_filters * 4**i, config.period_max_filters) for i in range(len(config.period_strides))
        ]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(fan_in, fan_out, (5, 1), (stride, 1), (2, 0)))
            for fan_in, fan_out, stride in zip([1, *widths], widths, config.period_strides, strict=False)
        )
        self.last = weight_norm(nn.Conv2d([1, *widths][-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> CriticOutput:
        """Maps audio [B, 1, N] to logits [B, 1, N', P] and features [B, W, N'', P] of each layer."""
        padded = F.pad(audio, (0, -audio.shape[-1] % self.period), mode="reflect")
        return _through(padded.unflatten(-1, (-1, self.period)), self.layers, self.last, self.slope)


class SpectrumNetwork(nn.Module):
    """Convolutions over time and frequency of the magnitudes of one resolution."""

    def __init__(self, config: CriticConfig, window_samples: int):
        super().__init__()
        self.window_samples, self.slope = window_samples, config.spectrum_slope
        width, fan_in = config.spectrum_filters, 1
        self.layers = nn.ModuleList()
        for stride in config.spectrum_strides:
            self.layers.append(weight_norm(nn.Conv2d(fan_in, width, (3, 9), (1, stride), (1, 4))))
            fan_in = width
        self.layers.append(weight_norm(nn.Conv2d(fan_in, width, 3, padding=1)))
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> CriticOutput:
        """Maps audio [B, 1, N] to logits [B, 1, T, F'] and features [B, W, T, F'] of each layer."""
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = magnitudes(audio.float(), self.window_samples, self.window_samples // 2, pad_mode="reflect")
        # twice as fast on a CPU; `contiguous` does not change the strides of one channel, by which layers choose
        image = torch.empty_like(spectrum.mT, memory_format=torch.channels_last).copy_(spectrum.mT)
        return _through(image, self.layers, self.last, self.slope)


def _through(x: Tensor, layers: nn.ModuleList, last: nn.Module, slope: float) -> CriticOutput:
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), slope)
        features.append(x)
    return CriticOutput(last(x), features)
