"""The spectral envelope as a linear transform code: log levels to values, and values to local deviations.

Both are ours, used where `CoDiCodecConfig.envelope_bands` is not 0, and start from what the data give (`fit`): values
begin as principal components of the log levels, and deviations as their linear regression on the values. The networks
learn what these miss. The paper's network has neither: its encoder starts blind, because real and imaginary parts have
a mean of zero, and it takes some 10^5 steps until it transmits an envelope.

Shape letters: M chunks, C audio channels, F bins, L frames of a chunk, d FSQ dimensions, G summaries of a column of
patches, K columns.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...layers.mel import mel_filters
from .config import CoDiCodecConfig
from .spectrum import magnitudes

LEVEL_FLOOR = 1e-4  # of STFT magnitudes: the rounding noise of 16 bits
VALUE_DEVIATION = 0.9  # of z at the start; tanh of such a normal number is nearly uniform
LEAST_VARIANCE = 1e-6  # of a component, relative to the strongest one
LOG_RANGE = (-9.0, 4.0)  # of natural log deviations
MEAN_LOG_NOISE = -0.5 * 0.5772  # mean of ln sqrt((a^2 + b^2) / 2) over standard normal a, b


class EnvelopeEncoder(nn.Module):
    """Spectrogram of a chunk [M, 2C, F, L] -> log magnitudes [M, C, F, L], and a start of its values [M, G * K, d]."""

    bins: Tensor
    bands: Tensor
    filters: Tensor

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        self.config, self.frames = config, config.time_factor
        filters = mel_filters(config.sample_rate, config.window_samples, config.envelope_bands)[:, :-1].float()
        self.register_buffer("filters", filters / filters.sum(1, keepdim=True).clamp_min(1e-9), persistent=False)
        self.register_buffer("bins", torch.zeros(config.channels, config.num_bins, 1))  # mean log magnitudes
        self.register_buffer("bands", torch.zeros(config.channels, config.envelope_bands, 1))  # mean log levels
        width = config.channels * config.envelope_bands * self.frames
        self.principal = nn.Linear(width, config.summaries_per_column * len(config.levels))

    def forward(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        # float32 island: logarithms of small powers
        with torch.autocast(spectrogram.device.type, enabled=False):
            log_bins, log_bands = self._logs(spectrogram)
            columns = to_columns(log_bands - self.bands, self.frames)
            z = self.principal(columns.to(self.principal.weight.dtype))
        return log_bins - self.bins, z.unflatten(-1, (-1, len(self.config.levels))).transpose(1, 2).flatten(1, 2)

    def _logs(self, spectrogram: Tensor) -> tuple[Tensor, Tensor]:
        """Returns log10 magnitudes of bins [M, C, F, L] and of bands."""
        size = magnitudes(spectrogram.float(), self.config)
        bands = self.filters.float() @ size
        return size.clamp_min(LEVEL_FLOOR).log10(), bands.clamp_min(LEVEL_FLOOR).log10()

    @torch.no_grad()
    def fit(self, spectrogram: Tensor) -> None:
        """Sets means, and the whitened principal components of the log levels of a column of patches."""
        log_bins, log_bands = self._logs(spectrogram)
        self.bins.copy_(log_bins.mean((0, 3))[..., None])
        self.bands.copy_(log_bands.mean((0, 3))[..., None])
        columns = to_columns(log_bands - self.bands, self.frames).flatten(0, 1).double()
        variances, directions = torch.linalg.eigh(columns.T @ columns / len(columns))
        count = len(self.principal.bias)
        variances, directions = variances.flip(0)[:count], directions.flip(1)[:, :count]
        scale = VALUE_DEVIATION * variances.clamp_min(LEAST_VARIANCE * float(variances[0])).rsqrt()
        self.principal.weight.copy_((directions * scale).T)
        self.principal.bias.zero_()


class LocalDeviation(nn.Module):
    """Values [M, G * K, d] and the upsampler's last feature map -> deviation of the spectrogram's cells [M, 2C, F, L].

    The deviation is that of the noise with which a decoder without any further network would fill the cell.
    """

    def __init__(self, config: CoDiCodecConfig):
        super().__init__()
        self.config = config
        cells = config.channels * config.num_bins * config.time_factor
        self.linear = nn.Linear(config.summaries_per_column * len(config.levels), cells)
        self.refine = nn.Conv2d(config.conv_channels[0], config.channels, 3, padding=1)
        nn.init.zeros_(self.refine.weight)
        assert self.refine.bias is not None
        nn.init.zeros_(self.refine.bias)

    def forward(self, values: Tensor, features: list[Tensor]) -> Tensor:
        c = self.config
        columns = self._columns(values)
        cells = self.linear(columns.to(self.linear.weight.dtype)).float()
        log = from_columns(cells, c.channels, c.time_factor) + self.refine(features[0]).float()
        deviation: Tensor = log.clamp(*LOG_RANGE).exp().repeat_interleave(2, dim=1)
        return deviation

    def _columns(self, values: Tensor) -> Tensor:
        """Returns [M, K, G * d]."""
        columns: Tensor = values.unflatten(1, (self.config.summaries_per_column, -1)).transpose(1, 2).flatten(2)
        return columns

    @torch.no_grad()
    def fit(self, values: Tensor, spectrogram: Tensor) -> None:
        """Sets the linear regression of log deviations on the values of the same chunks."""
        c = self.config
        parts = spectrogram.unflatten(1, (c.channels, 2)).float()
        floor = c.amplitude_gain * LEVEL_FLOOR**c.amplitude_exponent
        log = 0.5 * parts.square().mean(2).clamp_min(floor**2).log() - MEAN_LOG_NOISE
        wanted = to_columns(log, c.time_factor).flatten(0, 1).double()
        known = self._columns(values).flatten(0, 1).double()
        known = torch.cat((known, torch.ones_like(known[:, :1])), dim=1)
        ridge = 1e-3 * len(known) * torch.eye(known.shape[1], dtype=known.dtype, device=known.device)
        solution = torch.linalg.solve(known.T @ known + ridge, known.T @ wanted)
        self.linear.weight.copy_(solution[:-1].T)
        self.linear.bias.copy_(solution[-1])


def to_columns(x: Tensor, frames: int) -> Tensor:
    """Returns columns [M, K, C * F * frames] of [M, C, F, K * frames]."""
    columns: Tensor = x.unflatten(-1, (-1, frames)).permute(0, 3, 1, 2, 4).flatten(2)
    return columns


def from_columns(columns: Tensor, channels: int, frames: int) -> Tensor:
    """Inverts `to_columns`.

    Args:
        columns: [M, K, C * F * frames].
        channels: C.
        frames: of a column.

    Returns:
        [M, C, F, K * frames].
    """
    x: Tensor = columns.unflatten(-1, (channels, -1, frames)).permute(0, 2, 3, 1, 4).flatten(3)
    return x
