"""Mel filters and magnitude spectrograms. Shape letters: N samples, F bins, M mel bands, T frames."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# Slaney's scale (Auditory Toolbox): linear below 1 kHz with 3 mel per 200 Hz, logarithmic above
LINEAR_HZ = 200.0 / 3.0  # per mel
BREAK_HZ = 1000.0
LOG_STEP = np.log(6.4) / 27.0  # per mel


def hz_to_mel(frequency_hz: np.ndarray) -> np.ndarray:
    """Returns frequencies in Hz on Slaney's mel scale."""
    frequency_hz = np.asarray(frequency_hz, np.float64)
    above = BREAK_HZ / LINEAR_HZ + np.log(np.maximum(frequency_hz, BREAK_HZ) / BREAK_HZ) / LOG_STEP
    return np.where(frequency_hz < BREAK_HZ, frequency_hz / LINEAR_HZ, above)


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Inverts `hz_to_mel`."""
    mel = np.asarray(mel, np.float64)
    at_break = BREAK_HZ / LINEAR_HZ
    above = BREAK_HZ * np.exp(LOG_STEP * (np.maximum(mel, at_break) - at_break))
    return np.where(mel < at_break, mel * LINEAR_HZ, above)


def mel_filters(
    sample_rate: int, fft_samples: int, num_mels: int, min_hz: float = 0.0, max_hz: float | None = None
) -> Tensor:
    """Returns triangular filters of unit area on Slaney's scale, as librosa builds by default.

    Args:
        sample_rate: in Hz.
        fft_samples: length of the transform.
        num_mels: M.
        min_hz: lower edge of the first filter.
        max_hz: upper edge of the last filter; None: half the sample rate.

    Returns:
        [M, fft_samples // 2 + 1] float64.

    Raises:
        ValueError: the range is empty or reaches beyond half the sample rate.
    """
    max_hz = sample_rate / 2 if max_hz is None else max_hz
    if num_mels < 1 or not 0 <= min_hz < max_hz <= sample_rate / 2:
        raise ValueError(f"cannot make {num_mels} mel bands of {min_hz} to {max_hz} Hz at {sample_rate} Hz sample rate")
    return _mel_filters(sample_rate, fft_samples, num_mels, float(min_hz), float(max_hz)).clone()


@lru_cache(maxsize=16)
def _mel_filters(sample_rate: int, fft_samples: int, num_mels: int, min_hz: float, max_hz: float) -> Tensor:
    low, high = hz_to_mel(np.array([min_hz, max_hz]))
    edges_hz = mel_to_hz(np.linspace(low, high, num_mels + 2))
    bins_hz = np.linspace(0.0, sample_rate / 2, fft_samples // 2 + 1)
    distance = (bins_hz[None] - edges_hz[:, None]) / np.diff(edges_hz, append=np.inf)[:, None]
    rising = distance[:-2]  # 0 at the left edge, 1 at the middle
    falling = -distance[1:-1] + 1.0  # 1 at the middle, 0 at the right edge
    filters = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return torch.from_numpy(filters)


@lru_cache(maxsize=32)
def mel_filters_on(device: torch.device, sample_rate: int, fft_samples: int, num_mels: int) -> Tensor:
    """Returns `mel_filters` of the whole range in float32, computed once; do not change them in place.

    Args:
        device: of the result.
        sample_rate: as of `mel_filters`.
        fft_samples: as of `mel_filters`.
        num_mels: as of `mel_filters`.

    Returns:
        [M, fft_samples // 2 + 1].
    """
    return mel_filters(sample_rate, fft_samples, num_mels).float().to(device)


def magnitudes(audio: Tensor, fft_samples: int, hop_samples: int, pad_mode: str = "constant") -> Tensor:
    """Computes STFT magnitudes with a periodic Hann window and centred frames.

    Args:
        audio: [..., N].
        fft_samples: length of window and transform.
        hop_samples: from one frame to the next.
        pad_mode: `"constant"` accepts any N from one sample up, `"reflect"` more than fft_samples / 2.

    Returns:
        [..., F, T] in the dtype of `audio`.
    """
    window = torch.hann_window(fft_samples, dtype=audio.dtype, device=audio.device)
    lead = audio.shape[:-1]
    flat = audio.reshape(-1, audio.shape[-1])
    spectrum = torch.stft(
        flat, fft_samples, hop_samples, window=window, center=True, pad_mode=pad_mode, return_complex=True
    )
    return spectrum.abs().reshape(*lead, *spectrum.shape[-2:])
