"""Audio for a page: a compressed file and its spectrogram, as bytes.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

MIME = {"flac": "audio/flac", "ogg": "audio/ogg"}
OGG_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz that Opus works at

Codec = Literal["flac", "ogg"]


class AudioCell(NamedTuple):
    """One player with its spectrogram."""

    label: str
    audio: Tensor  # [C, N]
    sample_rate: int  # Hz
    marks: tuple[tuple[float, float], ...] = ()  # (start, end) in seconds of parts that are marked in the spectrogram


@dataclass(frozen=True, kw_only=True)
class AudioRow:
    """Players next to each other."""

    caption: str
    cells: list[AudioCell]
    note: str = ""


def encode_audio(audio: Tensor, sample_rate: int, codec: Codec = "flac") -> bytes:
    """Encodes audio as the bytes of a file; NaN becomes silence, peaks beyond 1 are cut.

    Args:
        audio: [C, N] or [N].
        sample_rate: in Hz; Opus resamples to the next rate that it works at.
        codec: `flac` (16 bit, lossless) or `ogg` (Opus, about a tenth of the size).

    Returns:
        The bytes of the file.

    Raises:
        ValueError: another codec.
    """
    import soundfile

    if codec not in MIME:
        raise ValueError(f"codec must be one of {', '.join(MIME)}, got {codec!r}")
    audio = torch.nan_to_num(audio.detach().cpu().float()).clamp(-1.0, 1.0)
    audio = audio[None] if audio.ndim == 1 else audio
    if codec == "ogg" and sample_rate not in OGG_RATES:
        from ...data.audio.convert import resample

        target = next((rate for rate in OGG_RATES if rate >= sample_rate), OGG_RATES[-1])
        audio, sample_rate = resample(audio, sample_rate, target).clamp(-1.0, 1.0), target
    buffer = io.BytesIO()
    kind = ("FLAC", "PCM_16") if codec == "flac" else ("OGG", "OPUS")
    soundfile.write(buffer, audio.numpy().T, sample_rate, format=kind[0], subtype=kind[1])
    return buffer.getvalue()
