"""Integrated loudness (ITU-R BS.1770-4) and the gain that brings audio to it. Shape letters: C channels, N samples."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from .audio import span

BLOCK_S = 0.4  # gating block of BS.1770
STEP_S = 0.1  # from one gating block to the next
PIECE_S = 10  # of audio that is measured at once, which bounds the memory
SETTLING_S = 1  # of audio before a piece, in which the filters forget what was before: the slowest decays by e^-239
RELATIVE_GATE_LU = -10.0
FLOOR_LUFS = -70.0  # the absolute gate of BS.1770: audio below it counts as silence


def measure_loudness(audio: Tensor, sample_rate: int, num_samples: int | None = None) -> float:
    """Returns the integrated loudness of audio.

    Clips shorter than one gating block of 400 ms are repeated to fill it; at most five channels count.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        num_samples: of audio that silence follows up to; None: its own.

    Returns:
        Loudness in LUFS; -inf for silence.
    """
    num_samples, shortest = num_samples or audio.shape[-1], math.ceil(BLOCK_S * sample_rate) + 1
    if num_samples < shortest:
        audio = span(audio, 0, num_samples).repeat(1, math.ceil(shortest / num_samples))
        num_samples = audio.shape[-1]
    if not audio.any():
        return -math.inf
    # the standard counts only whole gating blocks; pyloudnorm rounds their number and would include a partial one
    steps = math.floor((num_samples / sample_rate - BLOCK_S) / STEP_S + 1e-6)
    whole = math.ceil((BLOCK_S + steps * STEP_S) * sample_rate)
    return _gated_mean(torch.cat([*_block_loudness(audio[:5], sample_rate, whole)]))


def _block_loudness(audio: Tensor, sample_rate: int, num_samples: int) -> Iterator[Tensor]:
    """Yields the loudness of the gating blocks of audio [C, num_samples] in LUFS, piece by piece."""
    import pyloudnorm

    meter = pyloudnorm.Meter(sample_rate)
    overlap_s = BLOCK_S - STEP_S  # a block that begins in a piece may end after it
    for start_s in range(0, math.ceil(num_samples / sample_rate - overlap_s - 1e-6), PIECE_S):
        first_s = max(0, start_s - SETTLING_S)
        stop = min(num_samples, math.ceil((start_s + PIECE_S + overlap_s) * sample_rate))
        meter.integrated_loudness(span(audio, first_s * sample_rate, stop).double().cpu().numpy().T)
        yield torch.tensor(meter.blockwise_loudness[round((start_s - first_s) / STEP_S) :], dtype=torch.float64)


def _gated_mean(blocks: Tensor) -> float:
    """Returns the loudness of what passes both gates (equation 7), in LUFS, for blocks [M] of such."""

    def mean(loudness: Tensor) -> float:
        return 10 * math.log10(float((10 ** (loudness / 10)).mean())) if len(loudness) else -math.inf

    loud = blocks[blocks >= FLOOR_LUFS]
    return mean(loud[loud > mean(loud) + RELATIVE_GATE_LU])


def loudness_gain_db(
    audio: Tensor,
    sample_rate: int,
    target_lufs: float,
    measured_lufs: float | None = None,
    *,
    peak: float = 1.0,
    min_power: float = 0.0,
    num_samples: int | None = None,
) -> float:
    """Returns the gain in dB that brings audio to a loudness; it is lower where the peak would pass 1.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        target_lufs: the loudness.
        measured_lufs: the loudness of the audio, where the caller has measured it already.
        peak: the peak of the result where it would pass 1.
        min_power: mean square below which the audio is left alone.
        num_samples: of audio that silence follows up to; None: its own.

    Returns:
        The gain; 0 for audio that is left alone, which includes all below the absolute gate (-70 LUFS).
    """
    audio, norm = audio[:, :num_samples], torch.linalg.vector_norm  # neither copies the audio
    if float(norm(audio)) ** 2 / (len(audio) * (num_samples or audio.shape[-1])) < min_power:
        return 0.0
    loudness = measure_loudness(audio, sample_rate, num_samples) if measured_lufs is None else measured_lufs
    if loudness < FLOOR_LUFS:
        return 0.0
    gain, largest = 10 ** ((target_lufs - loudness) / 20), float(norm(audio, math.inf))
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
