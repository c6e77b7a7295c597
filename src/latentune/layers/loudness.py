"""Integrated loudness (ITU-R BS.1770-4) and the gain that brings audio to it. Shape letters: C channels, N samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK_S = 0.4  # gating block of BS.1770
STEP_S = 0.1  # from one gating block to the next
FLOOR_LUFS = -70.0  # the absolute gate of BS.1770: what lies below counts as silence


def measure_loudness(audio: Tensor, sample_rate: int) -> float:
    """Integrated loudness of audio [C, N] in LUFS; -inf for silence.

    Clips shorter than one gating block of 400 ms are repeated to fill it; at most five channels count.
    """
    import pyloudnorm

    shortest = math.ceil(BLOCK_S * sample_rate) + 1
    if audio.shape[-1] < shortest:
        audio = audio.repeat(1, math.ceil(shortest / audio.shape[-1]))
    if not audio.any():
        return -math.inf
    # the standard counts whole gating blocks alone; pyloudnorm rounds their number, and would take in a partial one
    steps = math.floor((audio.shape[-1] / sample_rate - BLOCK_S) / STEP_S + 1e-6)
    audio = audio[:5, : math.ceil((BLOCK_S + steps * STEP_S) * sample_rate)]
    return float(pyloudnorm.Meter(sample_rate).integrated_loudness(audio.double().cpu().numpy().T))


def loudness_gain_db(
    audio: Tensor,
    sample_rate: int,
    target_lufs: float,
    measured_lufs: float | None = None,
    *,
    peak: float = 1.0,
    min_power: float = 0.0,
) -> float:
    """The gain in dB that brings audio [C, N] to `target_lufs`, less where its peak would pass 1.

    Args:
        measured_lufs: its loudness, where the caller has measured it already.
        peak: what the peak becomes where it would pass 1.
        min_power: mean square below which the audio is left alone.

    Returns:
        0 for what is left alone, which is also all below the absolute gate (-70 LUFS).
    """
    if float(audio.square().mean()) < min_power:
        return 0.0
    loudness = measure_loudness(audio, sample_rate) if measured_lufs is None else measured_lufs
    if loudness < FLOOR_LUFS:
        return 0.0
    gain, largest = 10 ** ((target_lufs - loudness) / 20), float(audio.abs().max())
    return 20 * math.log10(peak / largest if gain * largest > 1.0 else gain)


def normalise_loudness(
    audio: Tensor, sample_rate: int, target_lufs: float, measured_lufs: float | None = None
) -> tuple[Tensor, float]:
    """Audio [C, N] at `target_lufs`, or with a peak of 1 where that would pass it, and the gain in dB that was needed.

    What lies below the absolute gate (-70 LUFS) stays as it is, with 0 dB.
    """
    gain_db = loudness_gain_db(audio, sample_rate, target_lufs, measured_lufs)
    return audio * 10 ** (gain_db / 20), gain_db


def apply_gain(audio: Tensor, gain_db: Tensor) -> Tensor:
    """Audio [B, C, N] with each item louder by its `gain_db` [B].

    Raises:
        ValueError: not one finite gain for each item.
    """
    if gain_db.shape != (len(audio),) or not torch.isfinite(gain_db).all():
        raise ValueError(f"gain_db must be [{len(audio)}] finite numbers of dB, got {gain_db.tolist()}")
    factor = torch.pow(10.0, gain_db.to(audio.device, torch.float32) / 20)
    return audio * factor[:, None, None]


def decoded_level(audio: Tensor, gain_db: Tensor | None) -> Tensor:
    """Decoded audio [B, C, N] at the level it had before a gain of `gain_db` [B] (None: there was none), in [-1, 1]."""
    return (audio if gain_db is None else apply_gain(audio, -gain_db)).clamp(-1.0, 1.0)
