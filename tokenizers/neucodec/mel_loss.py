"""Distance of log mel spectrograms at several resolutions, as in the Descript Audio Codec (arXiv 2306.06546).

Shape letters: B batch, C audio channels, N audio samples, M mel bands, F bins, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...layers.mel import magnitudes, mel_filters_on

FLOOR = 1e-5  # lower bound of the magnitudes


def mel_loss(
    estimate: Tensor, target: Tensor, sample_rate: int, window_samples: Sequence[int], num_mels: Sequence[int]
) -> Tensor:
    """Returns the mean absolute difference of log10 mel magnitudes, summed over the resolutions.

    Each window advances by a quarter of itself, its frames are centred and the ends of the signal reflected. Filters
    are triangles of unit area on Slaney's scale, from 0 Hz to half the sample rate.

    Args:
        estimate: audio [B, C, N].
        target: audio [B, C, N].
        sample_rate: in Hz.
        window_samples: window of each resolution.
        num_mels: M of each resolution.

    Returns:
        A scalar.

    Raises:
        ValueError: audio of two shapes, or shorter than half a window, which cannot be reflected.
    """
    if estimate.shape != target.shape or estimate.ndim != 3:
        raise ValueError(
            f"the mel loss takes audio [B, C, N] twice, got {tuple(estimate.shape)} and {tuple(target.shape)}"
        )
    if estimate.shape[-1] <= max(window_samples) // 2:
        raise ValueError(f"audio of {estimate.shape[-1]} samples is too short for a window of {max(window_samples)}")
    distances = [
        (log_mel(estimate, sample_rate, window, bands) - log_mel(target, sample_rate, window, bands)).abs().mean()
        for window, bands in zip(window_samples, num_mels, strict=True)
    ]
    return torch.stack(distances).sum()


def log_mel(audio: Tensor, sample_rate: int, window_samples: int, num_mels: int) -> Tensor:
    """Returns log10 mel magnitudes, in float32 also under autocast.

    Args:
        audio: [B, C, N].
        sample_rate: in Hz.
        window_samples: length of the window.
        num_mels: M.

    Returns:
        [B, C, M, T].
    """
    with torch.autocast(audio.device.type, enabled=False):
        spectrum = magnitudes(audio.float(), window_samples, window_samples // 4, pad_mode="reflect")
        mel = mel_filters_on(audio.device, sample_rate, window_samples, num_mels) @ spectrum
        return mel.clamp_min(FLOOR).log10()
