"""The front end of AudioSet's networks, VGGish and YAMNet: log-mel frames at 16 kHz (Hershey et al. 2017, 1609.09430).

torch.stft cannot make it: the frame has 400 samples where the transform has 512, and torch would centre the one in
the other. Shape letters: N samples, T frames, M mel bands, F bins, W windows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .base import repeat_to

SAMPLE_RATE = 16_000  # Hz
FRAME_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms
FFT_SAMPLES = 512
NUM_MELS = 64
MEL_RANGE_HZ = (125.0, 7500.0)
PATCH_FRAMES = 96  # 0.96 s
PATCH_SAMPLES = (PATCH_FRAMES - 1) * HOP_SAMPLES + FRAME_SAMPLES  # 15,600 samples make one patch


def patches(audio: Tensor, log_offset: float) -> Tensor:
    """Mono audio [N] at 16 kHz as patches [W, 96, M] end to end, W >= 1; audio below 15,600 samples is repeated."""
    frames = log_mel(repeat_to(audio, PATCH_SAMPLES), log_offset)
    num = len(frames) // PATCH_FRAMES
    return frames[: num * PATCH_FRAMES].reshape(num, PATCH_FRAMES, NUM_MELS)


def log_mel(audio: Tensor, log_offset: float) -> Tensor:
    """log(mel + log_offset) of magnitudes, [T, M] float32, T = (N - 400) // 160 + 1: frames are not padded."""
    frames = audio.float().unfold(0, FRAME_SAMPLES, HOP_SAMPLES)
    spectrum = torch.fft.rfft(frames * torch.hann_window(FRAME_SAMPLES, device=audio.device), FFT_SAMPLES)
    return torch.log(F.linear(spectrum.abs(), mel_filters().to(audio.device)) + log_offset)


@lru_cache(maxsize=1)
def mel_filters() -> Tensor:
    """Triangles of height 1 whose flanks are straight over HTK's mel scale, not over Hz: [M, F] float32.

    The constant component has no weight, as in HTK.
    """
    low, high = _mel(np.array(MEL_RANGE_HZ))
    edges = np.linspace(low, high, NUM_MELS + 2)[:, None]
    bins = _mel(np.linspace(0.0, SAMPLE_RATE / 2, FFT_SAMPLES // 2 + 1))
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0.0, np.minimum(rising, falling))
    filters[:, 0] = 0.0
    return torch.from_numpy(filters).float()


def _mel(frequency_hz: np.ndarray) -> np.ndarray:
    """HTK's mel scale."""
    return 1127.0 * np.log1p(frequency_hz / 700.0)
