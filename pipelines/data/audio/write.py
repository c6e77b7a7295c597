"""Writing audio files, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import Tensor

from ....core.files import atomic_path

PROBE_BYTES = 1 << 20
SUBTYPES = ("PCM_16", "PCM_24", "FLOAT")


def write_audio(path: str | Path, audio: Tensor, sample_rate: int, subtype: str = "PCM_24") -> None:
    """Writes a wav or flac file atomically. The parent folder must exist.

    Args:
        path: of the file.
        audio: [C, N] float.
        sample_rate: in Hz.
        subtype: `PCM_16` or `PCM_24` (samples outside [-1, 1] are clipped) or `FLOAT` (wav only, nothing is clipped).

    Raises:
        ValueError: wrong shape, no samples, NaN or inf, or an unknown subtype.
        OutputError: the file cannot be written.
    """
    import soundfile

    path = Path(path)
    if audio.ndim != 2 or audio.numel() == 0:
        raise ValueError(f"audio to write must be [channels, samples] with at least 1 sample, got {tuple(audio.shape)}")
    if not torch.isfinite(audio).all():
        raise ValueError(f"audio for {path} holds NaN or inf")
    if subtype not in SUBTYPES:
        raise ValueError(f"subtype {subtype!r}: allowed are {', '.join(SUBTYPES)}")
    if path.suffix.lower() not in (".wav", ".flac") or (subtype == "FLOAT" and path.suffix.lower() != ".wav"):
        raise ValueError(f"cannot write {path.name} as {subtype}: use .wav, or .flac with PCM_16 or PCM_24")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}")
    with atomic_path(path) as part:
        try:
            soundfile.write(part, audio.detach().float().cpu().numpy().T, sample_rate, subtype=subtype)
        except soundfile.LibsndfileError as error:
            _raise_reason(part)
            raise OSError(error.error_string) from error


def _raise_reason(path: Path) -> None:
    """Raises the error of the system that libsndfile does not quote, if writing to the file fails here, too."""
    with open(path, "ab") as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
