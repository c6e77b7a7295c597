"""Integrated loudness (ITU-R BS.1770-4) and the gain that brings audio to it. Shape letters: C channels, N samples."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK_S = 0.4  # gating block of BS.1770
STEP_S = 0.1  # from one gating block to the next
FLOOR_LUFS = -70.0  # the absolute gate of BS.1770: audio below it counts as silence


def measure_loudness(audio: Tensor, sample_rate: int) -> float:
    """Returns the integrated loudness of audio [C, N] in LUFS; -inf for silence.

    Clips shorter than one gating block of 400 ms are repeated to fill it; at most five channels count.
    """
    import pyloudnorm

    shortest = math.ceil(BLOCK_S * sample_rate) + 1
    if audio.shape[-1] < shortest:
        audio = audio.repeat(1, math.ceil(shortest / audio.shape[-1]))
    if not audio.any():
        return -math.inf
    # the standard counts only whole gating blocks; pyloudnorm rounds their number and would include a partial one
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
    """Returns the gain in dB that brings audio to a loudness; it is lower where the peak would pass 1.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        target_lufs: the loudness.
        measured_lufs: the loudness of the audio, where the caller has measured it already.
        peak: the peak of the result where it would pass 1.
        min_power: mean square below which the audio is left alone.

    Returns:
        The gain; 0 for audio that is left alone, which includes all below the absolute gate (-70 LUFS).
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
    """Brings audio to a loudness, or to a peak of 1 where that would pass it.

    Audio below the absolute gate (-70 LUFS) stays as it is, with 0 dB.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        target_lufs: the loudness.
        measured_lufs: the loudness of the audio, where the caller has measured it already.

    Returns:
        Audio [C, N] and the gain in dB that was applied.
    """
    gain_db = loudness_gain_db(audio, sample_rate, target_lufs, measured_lufs)
    return audio * 10 ** (gain_db / 20), gain_db


def check_gain(gain_db: Tensor, batch: int) -> None:
    """Raises ValueError unless `gain_db` is [B], one finite number per item."""
    if gain_db.shape != (batch,) or not torch.isfinite(gain_db).all():
        raise ValueError(f"gain_db must be [{batch}] finite numbers of dB, got {gain_db.tolist()}")


def apply_gain(audio: Tensor, gain_db: Tensor) -> Tensor:
    """Returns audio [B, C, N] with each item amplified by its `gain_db` [B].

    Raises:
        ValueError: `gain_db` is not one finite number per item.
    """
    check_gain(gain_db, len(audio))
    factor = torch.pow(10.0, gain_db.to(audio.device, torch.float32) / 20)
    return audio * factor[:, None, None]


def decoded_level(audio: Tensor, gain_db: Tensor | None) -> Tensor:
    """Returns decoded audio [B, C, N] in [-1, 1], with a gain of `gain_db` [B] undone (None: no gain)."""
    return (audio if gain_db is None else apply_gain(audio, -gain_db)).clamp(-1.0, 1.0)
