"""Recordings as a codec takes them: one rate, one channel count, finite.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ....core.errors import AudioError
from ...data.audio.concerns import Concerns, concerns_of
from ...data.audio.convert import resample, select_channels
from ...data.audio.item import AudioItem

ReadAudio = Callable[[AudioItem], Tensor]  # to [C, N]; raises AudioError or ValueError


def read_reference(
    item: AudioItem,
    sample_rate: int,
    channels: int,
    max_duration_s: float | None = None,
    concerns: Concerns | None = None,
) -> Tensor:
    """Reads a file as audio [C, N] at a rate and channel count.

    Args:
        item: the file.
        sample_rate: in Hz, to which it is resampled.
        channels: C, to which it is converted.
        max_duration_s: at most this much from its start; by default all.
        concerns: counts what is odd about the file.

    Returns:
        Audio [C, N] float32.

    Raises:
        AudioError: it cannot be read, or holds NaN or inf.
        ValueError: its channels cannot be converted.
    """
    audio, rate = item.read(max_duration_s=max_duration_s)
    if not torch.isfinite(audio).all():
        raise AudioError(f"{item.path}: holds NaN or inf")
    if concerns is not None:
        concerns.add(item.name, concerns_of(audio, rate))
    return resample(select_channels(audio, channels), rate, sample_rate)
