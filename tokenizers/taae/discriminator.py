"""The discriminator: convolutional networks on complex spectrograms of eight resolutions (arXiv 2411.19842).

The ratios of their window lengths are near the golden ratio, so that their frames rarely begin together: with powers of
two they would all be sensitive to the same samples and bins (appendix B.5, `measure/metrics/sensitivity.py`).

Shape letters: B batch, C audio channels, N audio samples, T frames, F frequency bins, W filters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from ...layers.stft import hann_window, stft
from ..parts.adversarial import CriticOutput


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Sizes of the discriminator. The defaults are the paper's."""

    filters: int = 256  # of every layer of every network
    window_samples: tuple[int, ...] = (78, 126, 206, 334, 542, 876, 1418, 2296)  # one network each; hop: half of it
    magnitude_power: float = 0.5  # each bin X becomes X |X|**power
    magnitude_eps: float = 1e-6  # added to |X| there, since |X|**power has no derivative at 0; not in the paper
    dilations: tuple[int, ...] = (1, 2, 4)  # in time, of the layers after the first
    frequency_stride: int = 1  # of the dilated layers; 2 in stable-audio-tools up to 0.0.18
    slope: float = 0.2  # of LeakyReLU

    def __post_init__(self) -> None:
        if self.filters < 1 or not self.window_samples or min(self.window_samples) < 4:
            raise ValueError(f"filters {self.filters} or window_samples {self.window_samples} are too small")
        if any(samples % 2 for samples in self.window_samples):
            raise ValueError(f"window_samples must be even, since the hop is half of each, got {self.window_samples}")
        if self.frequency_stride < 1 or (self.dilations and min(self.dilations) < 1):
            raise ValueError(f"dilations {self.dilations}, frequency_stride {self.frequency_stride} must be at least 1")
        if self.magnitude_power < 0 or self.magnitude_eps <= 0:
            raise ValueError("magnitude_power must not be below 0, and magnitude_eps must lie above it")


class Discriminator(nn.Module):
    """One `SpectrogramNetwork` for each window length.

    Args:
        channels: C of the audio.
    """

    def __init__(self, config: DiscriminatorConfig, channels: int):
        super().__init__()
        self.channels = channels
        self.shortest = max(config.window_samples)
        self.networks = nn.ModuleList(SpectrogramNetwork(config, n, channels) for n in config.window_samples)

    def forward(self, audio: Tensor) -> list[CriticOutput]:
        """Returns the output of each network for audio [B, C, N].

        Raises:
            ValueError: another number of channels, or audio shorter than the longest window.
        """
        if audio.ndim != 3 or audio.shape[1] != self.channels or audio.shape[2] < self.shortest:
            raise ValueError(
                f"the discriminator takes audio [B, {self.channels}, N] with N >= {self.shortest} (its longest "
                f"window), got {tuple(audio.shape)}"
            )
        return [network(audio) for network in self.networks]


class SpectrogramNetwork(nn.Module):
    """Convolutions over time and frequency of the complex spectrogram of one resolution."""

    def __init__(self, config: DiscriminatorConfig, window_samples: int, channels: int):
        super().__init__()
        self.config, self.window_samples = config, window_samples
        width, stride = config.filters, (1, config.frequency_stride)
        layers = [_conv(2 * channels, width, (3, 9))]
        layers += [_conv(width, width, (3, 9), dilation, stride) for dilation in config.dilations]
        layers += [_conv(width, width, (3, 3))]
        self.layers = nn.ModuleList(layers)
        self.last = _conv(width, 1, (3, 3))

    def forward(self, audio: Tensor) -> CriticOutput:
        """Maps audio [B, C, N] to logits [B, 1, T, F'] and features [B, W, T, F'] per layer; F' = F without stride."""
        x = self._spectrogram(audio)
        features = []
        for layer in self.layers:
            x = nn.functional.leaky_relu(layer(x), self.config.slope)
            features.append(x)
        return CriticOutput(self.last(x), features)

    def _spectrogram(self, audio: Tensor) -> Tensor:
        """Returns real and imaginary parts [B, 2C, T, F], windows of unit energy, in float32 also under autocast."""
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = stft(audio.float(), self.window_samples, self.window_samples // 2, nyquist=True)
            energy = hann_window(self.window_samples, audio).square().sum()
            spectrum = spectrum / energy.sqrt()
            spectrum = spectrum * (spectrum.abs() + self.config.magnitude_eps) ** self.config.magnitude_power
            return torch.cat([spectrum.real, spectrum.imag], 1).transpose(2, 3)


def _conv(
    fan_in: int, fan_out: int, kernel: tuple[int, int], dilation: int = 1, stride: tuple[int, int] = (1, 1)
) -> nn.Module:
    """Returns a weight-normed convolution over (time, frequency), dilated in time, that keeps the size at stride 1."""
    padding = (dilation * (kernel[0] // 2), kernel[1] // 2)
    conv = nn.Conv2d(fan_in, fan_out, kernel, stride, padding, (dilation, 1))
    normed: nn.Module = weight_norm(conv)
    return normed
