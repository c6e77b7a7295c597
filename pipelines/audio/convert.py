"""Rate, channels and loudness of audio. Shape letters: C channels, N samples."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ...tokenizers.parts.audio import to_channels, to_rate

resample = to_rate

ChannelPolicy = Literal["convert", "mono", "first", "require"]
LOUDNESS_BLOCK_S = 0.4  # gating block of ITU-R BS.1770
LOUDNESS_FLOOR_LUFS = -70.0  # the absolute gate of BS.1770: what lies below counts as silence

__all__ = ["ChannelPolicy", "measure_loudness", "normalise_loudness", "resample", "select_channels", "to_channels"]


def select_channels(audio: Tensor, channels: int, policy: ChannelPolicy = "convert") -> Tensor:
    """Audio [C, N] as [channels, N].

    Args:
        policy: `convert` duplicates mono and averages to mono, and refuses other mixes, such as 6 channels to 2;
            `mono` averages all channels first; `first` takes the first channel alone; `require` converts nothing.

    Raises:
        ValueError: the policy does not allow these channels.
    """
    if policy == "require" and len(audio) != channels:
        raise ValueError(f"audio has {len(audio)} channels, {channels} required: allow conversion or convert the file")
    if policy == "mono":
        audio = audio.mean(0, keepdim=True)
    elif policy == "first":
        audio = audio[:1]
    return to_channels(audio, channels)


def measure_loudness(audio: Tensor, sample_rate: int) -> float:
    """Integrated loudness (ITU-R BS.1770-4) of audio [C, N] in LUFS; -inf for silence.

    Clips shorter than one gating block of 400 ms are repeated to fill it; at most five channels count.
    """
    import pyloudnorm

    shortest = math.ceil(LOUDNESS_BLOCK_S * sample_rate) + 1
    if audio.shape[-1] < shortest:
        audio = audio.repeat(1, math.ceil(shortest / audio.shape[-1]))
    if not audio.any():
        return -math.inf
    return float(pyloudnorm.Meter(sample_rate).integrated_loudness(audio[:5].double().cpu().numpy().T))


def normalise_loudness(
    audio: Tensor, sample_rate: int, target_lufs: float, measured_lufs: float | None = None
) -> tuple[Tensor, float]:
    """Scale audio [C, N] to `target_lufs`, less where its peak would pass 1.

    Args:
        measured_lufs: its loudness, where the caller has measured it already.

    Returns:
        The scaled audio and the gain in dB. What lies below the absolute gate (-70 LUFS) stays as it is, with 0 dB.
    """
    loudness = measure_loudness(audio, sample_rate) if measured_lufs is None else measured_lufs
    if loudness < LOUDNESS_FLOOR_LUFS:
        return audio, 0.0
    gain = min(10 ** ((target_lufs - loudness) / 20), 1.0 / float(torch.abs(audio).max()))
    return audio * gain, 20 * math.log10(gain)
