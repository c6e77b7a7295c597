"""Rate and channel conversion: soxr, or torchaudio to match published numbers, and the one mono/stereo rule."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.config import nearest_hint
from ..core.extras import import_extra

Resampler = Literal["soxr", "torchaudio"]
RESAMPLERS: tuple[Resampler, ...] = ("soxr", "torchaudio")
BLOCK_SAMPLES = 2**20  # of all channels that soxr takes at once, which bounds the memory


def to_rate(audio: Tensor, from_rate: int, to_rate: int, resampler: Resampler = "soxr") -> Tensor:
    """Resamples audio.

    Args:
        audio: [..., N].
        from_rate: its sample rate in Hz.
        to_rate: the sample rate of the result in Hz.
        resampler: `soxr` with its high-quality setting, or `torchaudio` with the defaults of `torchaudio.functional.
            resample` (a sinc in a Hann window of 6 zero crossings), as the official packages of the codecs have it. The
            second passes more of what aliases, and is needed only to get exactly the tokens of those packages.

    Returns:
        [..., round(N * to_rate / from_rate)], at least one sample, float32 on the device of `audio`.

    Raises:
        ValueError: a rate is not positive, or there is no such resampler.
        MissingPackageError: the resampler is torchaudio, which is not installed.
    """
    if resampler not in RESAMPLERS:
        raise ValueError(f"no resampler {resampler!r}: {nearest_hint(resampler, RESAMPLERS)}")
    if from_rate <= 0 or to_rate <= 0:
        raise ValueError(f"sample rates must be positive, got {from_rate} and {to_rate} Hz")
    if from_rate == to_rate:
        return audio
    num_samples = max(1, round(audio.shape[-1] * to_rate / from_rate))
    if resampler == "torchaudio":
        functional: Any = import_extra("torchaudio.functional", "torchaudio", "the resampler torchaudio")
        resampled: Tensor = functional.resample(audio.detach().float(), from_rate, to_rate)
        return resampled[..., :num_samples]
    flat = audio.detach().reshape(-1, audio.shape[-1]).to("cpu", torch.float32)
    out = _soxr(flat, from_rate, to_rate, num_samples)
    return out.reshape(*audio.shape[:-1], num_samples).to(audio.device)


def _soxr(audio: Tensor, from_rate: int, to_rate: int, num_samples: int) -> Tensor:
    """Returns audio [C, N] as [C, num_samples] at another rate; it is taken in blocks, which do not change it."""
    import soxr

    # soxr rounds the length in its own way; ours depends on the two rates alone. Silence for two more samples is
    # appended, so that the result is never too short: the end of a signal is the same whether silence follows or not
    silence = audio.new_zeros(len(audio), 2 * math.ceil(from_rate / to_rate))
    stream = soxr.ResampleStream(from_rate, to_rate, len(audio), quality="HQ")
    out, end = audio.new_empty(len(audio), num_samples), 0
    for block in (*audio.split(max(1, BLOCK_SAMPLES // len(audio)), dim=1), silence):
        made = torch.from_numpy(stream.resample_chunk(block.numpy().T, last=block is silence).T)
        made = made[:, : num_samples - end]
        out[:, end : end + made.shape[1]] = made
        end += made.shape[1]
    assert end == num_samples
    return out


def span(audio: Tensor, start: int, stop: int) -> Tensor:
    """Returns a part of audio, before and after which there is silence.

    Args:
        audio: [..., N].
        start: first sample; may be negative.
        stop: first sample after the part; may be beyond the audio.

    Returns:
        [..., stop - start]; a view where the audio has all of it.
    """
    own = audio[..., max(0, start) : max(0, stop)]
    before = min(stop, 0) - min(start, 0)
    missing = stop - start - before - own.shape[-1]
    return torch.nn.functional.pad(own, (before, missing)) if before or missing else own


def to_channels(audio: Tensor, channels: int) -> Tensor:
    """Returns audio [..., C, N] with `channels` channels: mono is duplicated, more channels are averaged to mono.

    Raises:
        ValueError: the conversion would have to guess, such as 6 channels to 2.
    """
    have = audio.shape[-2]
    if have == channels:
        return audio
    if have == 1:
        return audio.expand(*audio.shape[:-2], channels, audio.shape[-1])
    if channels == 1:
        return audio.mean(-2, keepdim=True)
    raise ValueError(f"audio has {have} channels, not {channels}: mix it to mono or {channels} channels first")


def check_audio(audio: Tensor) -> None:
    """Raises ValueError unless `audio` is a finite float tensor [B, C, N] with at least one sample."""
    if audio.ndim != 3:
        raise ValueError(f"audio must be [batch, channels, samples], got shape {tuple(audio.shape)}")
    if not audio.is_floating_point():
        raise ValueError(f"audio must be float in [-1, 1], got {audio.dtype}: divide integers by their full scale")
    if audio.numel() == 0:
        raise ValueError(f"audio of shape {tuple(audio.shape)} is empty: at least 1 sample is needed")
    if not torch.stack(torch.aminmax(audio)).isfinite().all():  # as of all samples, without a copy of them
        raise ValueError("audio holds NaN or inf")
