"""Conversion between audio and the spectrogram chunks of the network (table "Signal" of the paper's section 3)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...layers.stft import inverse_power_law, istft, power_law, stft
from .config import CoDiCodecConfig


def audio_to_spectrogram(audio: Tensor, config: CoDiCodecConfig) -> Tensor:
    """Returns the network's spectrogram [B, 2C, F, T] of audio [B, C, N], in the order L.re, L.im, R.re, R.im."""
    spectrum = stft(audio.float(), config.window_samples, config.stft_hop_samples)
    parts = torch.stack((spectrum.real, spectrum.imag), dim=2).flatten(1, 2)
    return power_law(parts, config.amplitude_exponent, config.amplitude_gain)


def spectrogram_to_audio(spectrogram: Tensor, config: CoDiCodecConfig) -> Tensor:
    """Returns audio [B, C, (T + 1) * hop] of a spectrogram [B, 2C, F, T], not clamped, its ends half-overlapped."""
    parts = inverse_power_law(spectrogram.float(), config.amplitude_exponent, config.amplitude_gain)
    parts = parts.unflatten(1, (config.channels, 2))
    spectrum = torch.complex(parts[:, :, 0].contiguous(), parts[:, :, 1].contiguous())
    return istft(spectrum, config.window_samples, config.stft_hop_samples)


def magnitudes(spectrogram: Tensor, config: CoDiCodecConfig) -> Tensor:
    """Returns STFT magnitudes [M, C, F, T] of the network's spectrogram [M, 2C, F, T]."""
    parts = inverse_power_law(spectrogram, config.amplitude_exponent, config.amplitude_gain)
    pairs: Tensor = parts.unflatten(1, (config.channels, 2))
    return pairs.square().sum(2).sqrt()


def split_chunks(spectrogram: Tensor, chunk_frames: int) -> Tensor:
    """Returns [B, K, 2C, F, chunk_frames] of [B, 2C, F, K * chunk_frames]."""
    chunks: Tensor = spectrogram.unflatten(-1, (-1, chunk_frames)).movedim(3, 1)
    return chunks
