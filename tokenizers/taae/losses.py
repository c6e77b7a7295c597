"""Reconstruction losses of TAAE (arXiv 2411.19842, eq. 8). Those of the critic are in `parts/adversarial.py`.

Shape letters: B batch, C audio channels, N audio samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.stft import stft


def waveform_loss(estimate: Tensor, target: Tensor) -> Tensor:
    """Returns the mean absolute difference of audio [B, C, N]."""
    return (estimate.float() - target.float()).abs().mean()


def stft_loss(estimate: Tensor, target: Tensor, window_samples: int = 2048, hop_samples: int = 512) -> Tensor:
    """Returns the mean absolute difference of STFT magnitudes: the paper's L1 STFT loss.

    Frames are centred on multiples of the hop, the ends of the signal reflected.

    Args:
        estimate: audio [B, C, N].
        target: audio [B, C, N].
        window_samples: length of the window.
        hop_samples: from one frame to the next.

    Returns:
        A scalar.

    Raises:
        ValueError: the audio is not longer than half a window, so that it cannot be reflected.
    """
    estimated, wanted = (_magnitudes(audio, window_samples, hop_samples) for audio in (estimate, target))
    return (estimated - wanted).abs().mean()


def decay(gamma: float, step: int) -> float:
    """Returns gamma**step, the weight of the waveform and STFT terms at optimiser step `step` (eq. 8).

    They help at the start and hold back the adversarial training later. The released code is one step ahead.
    """
    return gamma**step


def _magnitudes(audio: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """Returns magnitudes [B, C, F, T] of [B, C, N] in float32, with a gradient of 0 where a bin is 0."""
    half = window_samples // 2
    if audio.shape[-1] <= half:
        raise ValueError(f"audio of {audio.shape[-1]} samples is too short for an STFT window of {window_samples}")
    with torch.autocast(audio.device.type, enabled=False):
        padded = torch.nn.functional.pad(audio.float(), (half, half), mode="reflect")
        return stft(padded, window_samples, hop_samples, nyquist=True).abs()
