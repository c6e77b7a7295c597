"""The front end of w2v-BERT 2.0: Kaldi's log mel filter bank, normalised over the utterance, frames in pairs.

Shape letters: B batch, N samples at 16 kHz, M windows, F bins (80).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.audio import span

SAMPLE_RATE = 16000  # Hz
WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FFT_SAMPLES = 512
NUM_BINS = 80
LOW_HZ, HIGH_HZ = 20.0, 8000.0
FULL_SCALE = 2.0**15  # Kaldi works on 16-bit numbers
PREEMPHASIS = 0.97
POVEY_POWER = 0.85  # of a Hann window
MEL_FLOOR = 1.192092955078125e-07
VARIANCE_EPS = 1e-7
STACK = 2  # windows of a frame
BLOCK_SAMPLES = 10 * SAMPLE_RATE  # of a long signal that are processed together, whole hops


class BinMoments(NamedTuple):
    """Mean and deviation of every bin over an utterance, [B, 1, F] float32."""

    mean: Tensor
    deviation: Tensor


def log_mel(audio: Tensor) -> Tensor:
    """Returns log mel energies [B, M, F] float32 of audio [B, N]; M = (N - 400) // 160 + 1, only whole windows.

    They are computed in float64: the quietest bins lie far below the rounding of float32 spectra.
    """
    windows = (audio.double() * FULL_SCALE).unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)
    windows = windows - windows.mean(-1, keepdim=True)
    before = F.pad(windows, (1, 0), mode="replicate")[..., :-1]  # the first sample is its own predecessor
    windows = (windows - PREEMPHASIS * before) * _povey_window(audio.device)
    power = torch.fft.rfft(windows, n=FFT_SAMPLES).abs().square()
    log_mel: Tensor = (power @ _mel_filters(audio.device)).clamp_min(MEL_FLOOR).log().float()
    return log_mel


def utterance_moments(items: Sequence[Tensor], num_samples: int) -> BinMoments:
    """Returns the moments of the log mel energies of audio, in memory that does not grow with its length.

    Args:
        items: B items, each [N] of its own N.
        num_samples: to which silence is appended to each.
    """
    overhang = WINDOW_SAMPLES - HOP_SAMPLES
    starts = range(0, num_samples - WINDOW_SAMPLES + 1, BLOCK_SAMPLES)
    spans = ((start, min(start + BLOCK_SAMPLES + overhang, num_samples)) for start in starts)
    return _moments(log_mel(torch.stack([span(item, *ends) for item in items])) for ends in spans)


def normalised_frames(mel: Tensor, moments: BinMoments | None = None) -> Tensor:
    """Returns the frames [B, M // 2, 2F] of the network's input for log mel energies [B, M, F].

    Every bin has mean 0 and deviation 1 over the utterance: the given one, or the one that `moments` are of.
    """
    mean, deviation = _moments([mel]) if moments is None else moments
    frames = (mel - mean) / deviation
    stacked: Tensor = frames[:, : mel.shape[1] // STACK * STACK].unflatten(1, (-1, STACK)).flatten(2)
    return stacked


def _moments(mels: Iterable[Tensor]) -> BinMoments:
    """Returns the moments of energies [B, M, F] that arrive in pieces."""
    count, total, squares = 0, torch.zeros(()).double(), torch.zeros(()).double()
    for mel in mels:
        count += mel.shape[1]
        total = total + mel.double().sum(1)
        squares = squares + mel.double().square().sum(1)
    mean = total / count
    deviation = ((squares - count * mean.square()).clamp_min(0.0) / (count - 1) + VARIANCE_EPS).sqrt()
    return BinMoments(mean=mean[:, None].float(), deviation=deviation[:, None].float())


@functools.cache
def _povey_window(device: torch.device) -> Tensor:
    window = torch.hann_window(WINDOW_SAMPLES, periodic=False, dtype=torch.float64)
    return window.pow(POVEY_POWER).to(device)


@functools.cache
def _mel_filters(device: torch.device) -> Tensor:
    """Returns triangles [FFT / 2 + 1, F], equally wide and linear in mel (Kaldi's scale), not normalised."""

    def to_mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = to_mel(torch.tensor([LOW_HZ, HIGH_HZ], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, NUM_BINS + 2, dtype=torch.float64)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    bins = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64) * SAMPLE_RATE / FFT_SAMPLES
    mels = to_mel(bins)[:, None]
    rising, falling = (mels - left) / (centre - left), (right - mels) / (right - centre)
    return torch.minimum(rising, falling).clamp_min(0.0).to(device)
