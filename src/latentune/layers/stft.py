"""Short-time Fourier transform as the codecs need it: without centring, padding or, by default, the Nyquist bin."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_FLOOR = 1e-5  # magnitudes below it count as it where logs of them are averaged


def hann_window(window_samples: int, like: Tensor) -> Tensor:
    """Returns the periodic Hann window [window_samples], float32, on the device of `like`."""
    return torch.hann_window(window_samples, device=like.device)


def synthesis_window(window_samples: int, hop_samples: int, like: Tensor) -> Tensor:
    """Returns the window that makes overlap-add exact: the analysis window divided by its overlap-added square.

    Args:
        window_samples: length of the window.
        hop_samples: from one frame to the next.
        like: a tensor on the device of the result.

    Returns:
        [window_samples] float32.
    """
    window = hann_window(window_samples, like)
    energy = window.square().reshape(-1, hop_samples).sum(0)
    return window / energy.repeat(window_samples // hop_samples)


def stft(audio: Tensor, window_samples: int, hop_samples: int, *, nyquist: bool = False) -> Tensor:
    """Computes complex spectra of whole frames; the caller pads.

    Args:
        audio: [..., N].
        window_samples: length of the Hann window.
        hop_samples: from one frame to the next.
        nyquist: keep the Nyquist bin.

    Returns:
        [..., F, T] with F = window_samples / 2 bins (one more with `nyquist`) and T = (N - window_samples) //
        hop_samples + 1.
    """
    frames = audio.unfold(-1, window_samples, hop_samples) * hann_window(window_samples, audio)
    spectrum: Tensor = torch.fft.rfft(frames)
    return (spectrum if nyquist else spectrum[..., :-1]).transpose(-1, -2)


def istft(spectrum: Tensor, window_samples: int, hop_samples: int) -> Tensor:
    """Inverts `stft` (without the Nyquist bin) by weighted overlap-add.

    Samples in fewer than window / hop frames (the first and last window - hop) are faded by the missing frames' share,
    so that consecutive pieces can be added where they overlap.

    Args:
        spectrum: [..., F, T] complex.
        window_samples: length of the Hann window.
        hop_samples: from one frame to the next.

    Returns:
        Audio [..., (T - 1) * hop + window].
    """
    # padded as pairs of real numbers, since ONNX has no padding of complex ones
    pairs = torch.nn.functional.pad(torch.view_as_real(spectrum.transpose(-1, -2)), (0, 0, 0, 1))
    frames = torch.fft.irfft(torch.view_as_complex(pairs), n=window_samples)
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
    """Returns gain * sign(x) * |x|**exponent.

    Args:
        x: real numbers.
        exponent: of the magnitude.
        gain: factor.

    Returns:
        Numbers in the shape of `x`.
    """
    return gain * x.sign() * x.abs() ** exponent


def inverse_power_law(x: Tensor, exponent: float, gain: float) -> Tensor:
    """Inverts `power_law`.

    Args:
        x: the result of `power_law`.
        exponent: as there.
        gain: as there.

    Returns:
        Numbers in the shape of `x`.
    """
    x = x / gain
    return x.sign() * x.abs() ** (1.0 / exponent)


def mean_log_magnitudes(audio: Tensor, window_samples: int) -> Tensor:
    """Returns the mean natural log magnitude [F] of windowed frames, from which a decoder of spectra can start.

    Args:
        audio: [B, N], N at least a window.
        window_samples: of the frames, a multiple of 4; their hop is a quarter of it.
    """
    frames = audio.float().unfold(-1, window_samples, window_samples // 4) * hann_window(window_samples, audio)
    mean: Tensor = torch.fft.rfft(frames).abs().clamp_min(LOG_FLOOR).log().flatten(0, -2).mean(0)
    return mean
