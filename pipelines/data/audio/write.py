"""Writing audio files, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor

from ....core.files import atomic_path

PROBE_BYTES = 1 << 20
SUBTYPES = ("PCM_16", "PCM_24", "FLOAT")


def write_audio(path: str | Path, audio: Tensor | Iterable[Tensor], sample_rate: int, subtype: str = "PCM_24") -> None:
    """Writes a wav or flac file atomically. The parent folder must exist.

    Args:
        path: of the file.
        audio: [C, N] float; or its pieces [C, n] in order, of which only one is in memory at a time.
        sample_rate: in Hz.
        subtype: `PCM_16` or `PCM_24` (samples outside [-1, 1] are clipped) or `FLOAT` (wav only, nothing is clipped).

    Raises:
        ValueError: wrong shape, no samples, NaN or inf, an unknown subtype, or pieces of different channels.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if subtype not in SUBTYPES:
        raise ValueError(f"subtype {subtype!r}: allowed are {', '.join(SUBTYPES)}")
    if path.suffix.lower() not in (".wav", ".flac") or (subtype == "FLOAT" and path.suffix.lower() != ".wav"):
        raise ValueError(f"cannot write {path.name} as {subtype}: use .wav, or .flac with PCM_16 or PCM_24")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    pieces = iter([audio] if isinstance(audio, Tensor) else audio)
    first = next(pieces, None)
    if first is None:
        raise ValueError(f"audio for {path} has no pieces: at least 1 sample is needed")
    channels = first.shape[0] if first.ndim == 2 else 0
    _check(path, first, channels)
    with atomic_path(path) as part:
        _write_pieces(path, part, chain([first], pieces), channels, sample_rate, subtype)


def _write_pieces(
    path: Path, part: Path, pieces: Iterable[Tensor], channels: int, sample_rate: int, subtype: str
) -> None:
    """Writes pieces [C, n] to `part`, the temporary name of `path`."""
    import soundfile

    try:
        with soundfile.SoundFile(part, "w", sample_rate, channels, subtype) as file:
            for piece in pieces:
                _check(path, piece, channels)
                file.write(piece.detach().float().cpu().numpy().T)
    except soundfile.LibsndfileError as error:
        _raise_reason(part)
        raise OSError(error.error_string) from error


def _check(path: Path, audio: Tensor, channels: int) -> None:
    """Raises ValueError unless `audio` is [channels, n], n at least 1, and finite."""
    if audio.ndim != 2 or audio.numel() == 0:
        raise ValueError(f"audio to write must be [channels, samples] with at least 1 sample, got {tuple(audio.shape)}")
    if len(audio) != channels:
        raise ValueError(f"audio for {path} begins with {channels} channels and continues with {len(audio)}")
    if not torch.isfinite(audio).all():
        raise ValueError(f"audio for {path} holds NaN or inf")


def _raise_reason(path: Path) -> None:
    """Raises the error of the system that libsndfile does not quote, if writing to the file fails here, too."""
    with open(path, "ab") as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
