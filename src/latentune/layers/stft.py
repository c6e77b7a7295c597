"""Short-time Fourier transform as the codecs need it: no centring, no padding, the Nyquist bin dropped by default."""

from __future__ import annotations

import torch
from torch import Tensor


def hann_window(window_samples: int, like: Tensor) -> Tensor:
    """Periodic Hann window [window_samples], float32, on the device of `like`."""
    return torch.hann_window(window_samples, device=like.device)


def synthesis_window(window_samples: int, hop_samples: int, like: Tensor) -> Tensor:
    """The window that makes overlap-add of analysed frames exact: analysis window / overlap-added squared window."""
    window = hann_window(window_samples, like)
    energy = window.square().reshape(-1, hop_samples).sum(0)
    return window / energy.repeat(window_samples // hop_samples)


def stft(audio: Tensor, window_samples: int, hop_samples: int, *, nyquist: bool = False) -> Tensor:
    """Audio [..., N] to complex frames [..., F, T], F = window_samples / 2 bins, and one more with `nyquist`.

    T = (N - window_samples) // hop_samples + 1: only whole frames, so the caller pads.
    """
    frames = audio.unfold(-1, window_samples, hop_samples) * hann_window(window_samples, audio)
    spectrum = torch.fft.rfft(frames)
    out: Tensor = (spectrum if nyquist else spectrum[..., :-1]).transpose(-1, -2)
    return out


def istft(spectrum: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """Inverse of `stft` by weighted overlap-add: [..., F, T] complex to audio [..., (T - 1) * hop + window].

    Samples that lie in fewer than window/hop frames (the first and last window - hop) come out faded by the missing
    frames' share, so consecutive pieces can simply be added where they overlap.
    """
    frames = torch.fft.irfft(torch.nn.functional.pad(spectrum, (0, 0, 0, 1)).transpose(-1, -2), n=window_samples)
    frames = frames * synthesis_window(window_samples, hop_samples, frames)
    lead, num_frames = frames.shape[:-2], frames.shape[-2]
    audio = torch.nn.functional.fold(
        frames.reshape(-1, num_frames, window_samples).transpose(1, 2),
        output_size=(1, (num_frames - 1) * hop_samples + window_samples),
        kernel_size=(1, window_samples),
        stride=(1, hop_samples),
    )
    return audio.reshape(*lead, -1)


def power_law(x: Tensor, exponent: float, gain: float) -> Tensor:
    """gain * sign(x) * |x|**exponent, on real numbers."""
    return gain * x.sign() * x.abs() ** exponent


def inverse_power_law(x: Tensor, exponent: float, gain: float) -> Tensor:
    """Inverse of `power_law`."""
    x = x / gain
    return x.sign() * x.abs() ** (1.0 / exponent)
