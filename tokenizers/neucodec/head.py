"""The last layer: spectra in polar form, and their overlap-add (Vocos, arXiv 2306.00814).

Shape letters: B batch, T frames, W width, F bins.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.stft import hann_window, mean_log_magnitudes

MAX_MAGNITUDE = 100.0


class SpectralHead(nn.Module):
    """Maps frames [B, T, W] to audio [B, 1, T * hop]: a linear layer gives log magnitudes, then phases, of spectra."""

    def __init__(self, width: int, window_samples: int, hop_samples: int):
        super().__init__()
        self.window_samples, self.hop_samples = window_samples, hop_samples
        self.out = nn.Linear(width, window_samples + 2)

    def forward(self, frames: Tensor) -> Tensor:
        # spectra stay float32 in every precision
        spectrum = polar_spectrum(self.out(frames).float())
        return overlap_add(spectrum, self.window_samples, self.hop_samples)

    @torch.no_grad()
    def fit(self, audio: Tensor) -> None:
        """Starts from the mean log magnitudes of audio [B, N] at the decoder's rate."""
        mean = mean_log_magnitudes(audio, self.window_samples)
        self.out.bias[: len(mean)] = mean


def polar_spectrum(polar: Tensor) -> Tensor:
    """Returns complex spectra [B, T, F] of log magnitudes, then phases, [B, T, 2F]; magnitudes are clipped."""
    log_magnitude, phase = polar.chunk(2, dim=-1)
    return torch.polar(log_magnitude.exp().clamp_max(MAX_MAGNITUDE), phase)


def overlap_add(spectrum: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """Converts spectra to audio: windowed, added, divided by the windows' energy, and cut.

    The frames' centres are in the middle of each hop, so that (window - hop) / 2 samples are cut at either end.

    Args:
        spectrum: [B, T, F] complex.
        window_samples: length of the window.
        hop_samples: from one frame to the next.

    Returns:
        Audio [B, 1, T * hop].
    """
    window = hann_window(window_samples, spectrum.real)
    frames = torch.fft.irfft(spectrum, n=window_samples) * window
    energy = window.square().expand(1, *frames.shape[1:])
    cut = (window_samples - hop_samples) // 2
    added, weight = (_add(x, hop_samples)[:, cut:-cut] for x in (frames, energy))
    return (added / weight)[:, None]


def _add(frames: Tensor, hop_samples: int) -> Tensor:
    """Returns frames [B, T, window], a hop apart, added up: [B, (T - 1) * hop + window]."""
    hops = frames.unflatten(-1, (-1, hop_samples))  # [B, T, hops of a window, hop]
    behind = hops.shape[2] - 1
    return sum(F.pad(hops[:, :, k], (0, 0, k, behind - k)) for k in range(behind + 1)).flatten(1)  # type: ignore[union-attr]
