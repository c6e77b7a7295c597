"""Pitch of speech by normalized autocorrelation. Shape letters: B batch, N samples, T frames."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ENOUGH_HZ = 8000  # of the sample rate: higher ones are divided by a whole number
WINDOW_S = 0.03  # of the frames that are compared with later ones
VOICED = 0.5  # autocorrelation above which a frame is voiced
QUIET = 1e-4  # power relative to the loudest frame below which no pitch is found
NEAR = 0.87  # of peaks this near to the highest, the one of the shortest lag counts: others are octaves below it


def track_pitch(audio: Tensor, sample_rate: int, hop_samples: int, range_hz: tuple[float, float]) -> Tensor:
    """Returns the pitch of audio [B, N] in Hz, [B, T] with T = N // hop_samples; 0 where a frame is not voiced.

    Frame t lies around the middle of hop t. The precision is that of one sample, parabolically refined.

    Args:
        audio: float, any level.
        sample_rate: in Hz.
        hop_samples: from one frame to the next.
        range_hz: lowest and highest pitch that is found.

    Raises:
        ValueError: a range that is empty or beyond half the sample rate.
    """
    low, high = range_hz
    if not 0 < low < high <= sample_rate / 2:
        raise ValueError(f"no pitch from {low} to {high} Hz at a sample rate of {sample_rate} Hz")
    factor = max(1, sample_rate // ENOUGH_HZ)
    if factor > 1 and hop_samples % factor == 0:
        audio, sample_rate, hop_samples = F.avg_pool1d(audio, factor), sample_rate // factor, hop_samples // factor
    window = round(WINDOW_S * sample_rate)
    first, last = math.floor(sample_rate / high), math.ceil(sample_rate / low)
    span = window + last + 1
    left = (span - hop_samples) // 2
    frames = F.pad(audio.float(), (max(left, 0), span)).unfold(-1, span, hop_samples)[
        :, : audio.shape[-1] // hop_samples
    ]
    table, power = _correlations(frames - frames.mean(-1, keepdim=True), window, first, last)
    best = table.amax(-1, keepdim=True)
    middle = table[..., 1:-1]
    peaks = (middle >= table[..., :-2]) & (middle >= table[..., 2:]) & (middle >= NEAR * best)
    place = peaks.int().argmax(-1, keepdim=True)  # the first one
    before, at, after = (table.gather(-1, place + shift)[..., 0] for shift in (0, 1, 2))
    curve = (before - 2 * at + after).clamp_max(-1e-6)
    lag = first + place[..., 0] + 0.5 * (before - after) / curve
    voiced = (best[..., 0] > VOICED) & peaks.any(-1) & (power > QUIET * power.amax(-1, keepdim=True))
    return torch.where(voiced, sample_rate / lag, 0.0)


def _correlations(frames: Tensor, window: int, first: int, last: int) -> tuple[Tensor, Tensor]:
    """Correlations of frames [B, T, window + last + 1] at lags first - 1 .. last + 1, and power [B, T] at lag 0."""
    size = 2 ** math.ceil(math.log2(frames.shape[-1]))  # what wraps around reaches only lags below 0
    spectrum = torch.fft.rfft(frames[..., :window], n=size).conj() * torch.fft.rfft(frames, n=size)
    lags = torch.arange(first - 1, last + 2, device=frames.device)
    products = torch.fft.irfft(spectrum, n=size)[..., lags]
    energy = F.pad(frames.square().cumsum(-1), (1, 0))
    later = energy[..., lags + window] - energy[..., lags]
    own = energy[..., window]
    return products / (own[..., None] * later).clamp_min(1e-12).sqrt(), own
