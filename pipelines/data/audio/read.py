"""Reading audio: libsndfile for wav, flac, ogg, opus and mp3, FFmpeg (PyAV) for m4a, aac, webm, video and raw g722.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ....core.errors import AudioError

SOUNDFILE_SUFFIXES = frozenset(
    {".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf"}
)
FFMPEG_SUFFIXES = frozenset(
    {".m4a", ".m4b", ".aac", ".mp4", ".m4v", ".mov", ".webm", ".weba", ".mkv", ".mka", ".avi"}
) | {*(".mpg", ".mpeg", ".ts", ".wma", ".wmv", ".ac3", ".ape", ".wv", ".3gp", ".g722")}
AUDIO_SUFFIXES = SOUNDFILE_SUFFIXES | FFMPEG_SUFFIXES
RAW_FORMATS = {".g722": "g722"}  # files without a header: suffix -> FFmpeg's name of the format (16 kHz mono)
TRUNCATED_S = 0.1  # a file whose audio ends this much before the length in the header is truncated


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """Facts about an audio file, from its header or, for formats without one, counted."""

    num_samples: int  # per channel, at sample_rate
    sample_rate: int  # Hz
    channels: int

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate


def probe(path: str | Path) -> AudioInfo:
    """Returns length, rate and channels of a file; formats whose header is not exact to the sample are decoded.

    Raises:
        AudioError: the file does not exist, is not audio, or is empty.
    """
    path = _existing(path)
    with _as_audio_error(path):
        if path.suffix.lower() not in FFMPEG_SUFFIXES:
            import soundfile

            with soundfile.SoundFile(path) as file:
                info = AudioInfo(num_samples=file.frames, sample_rate=file.samplerate, channels=file.channels)
        else:
            info = AudioInfo(num_samples=0, sample_rate=1, channels=1)
            for block, sample_rate in _ffmpeg_blocks(path):
                counted = info.num_samples + block.shape[-1]
                info = AudioInfo(num_samples=counted, sample_rate=sample_rate, channels=len(block))
    if info.num_samples < 1:
        raise AudioError(f"{path}: holds no audio samples")
    return info


def read_audio(path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None) -> tuple[Tensor, int]:
    """Reads a file or a part of it.

    Args:
        path: of the file.
        start_s: where the part starts, in seconds, rounded to samples.
        duration_s: length of the part in seconds; None reads to the end. The part ends where the file does.

    Returns:
        Audio [C, N] float32 (integers are scaled to [-1, 1)), and its sample rate in Hz.

    Raises:
        AudioError: the file does not exist, is not audio, is empty or truncated, or has no samples in this part.
        ValueError: the start is negative, or the duration is not positive.
    """
    if start_s < 0 or (duration_s is not None and duration_s <= 0):
        raise ValueError(f"start_s must be >= 0 and duration_s > 0, got {start_s} and {duration_s}")
    path = _existing(path)
    with _as_audio_error(path):
        if path.suffix.lower() in FFMPEG_SUFFIXES:
            audio, sample_rate = _read_ffmpeg(path, start_s, duration_s)
        else:
            audio, sample_rate = _read_soundfile(path, start_s, duration_s)
    if audio.shape[-1] < 1:
        where = f" at {start_s:g} s" if start_s else ""
        raise AudioError(f"{path}: holds no audio samples{where}")
    return torch.from_numpy(np.ascontiguousarray(audio)), sample_rate


def _read_soundfile(path: Path, start_s: float, duration_s: float | None) -> tuple[np.ndarray, int]:
    import soundfile

    with soundfile.SoundFile(path) as file:
        start, wanted = _window(start_s, duration_s, file.samplerate, file.frames)
        if start:
            file.seek(start)
        audio = file.read(wanted, dtype="float32", always_2d=True).T
        missing_s = (wanted - audio.shape[-1]) / file.samplerate
        if missing_s > TRUNCATED_S:
            raise AudioError(f"{path}: truncated, the header promises {missing_s:.2f} s more than there are")
        return audio, file.samplerate


def _read_ffmpeg(path: Path, start_s: float, duration_s: float | None) -> tuple[np.ndarray, int]:
    # no seeking: FFmpeg's is not exact to the sample in most of these formats, and decoding is fast
    blocks, have, sample_rate = [], 0, 1
    for block, sample_rate in _ffmpeg_blocks(path):
        blocks.append(block)
        have += block.shape[-1]
        if duration_s is not None and have >= round(start_s * sample_rate) + round(duration_s * sample_rate):
            break
    if not blocks:
        return np.zeros((1, 0), np.float32), sample_rate
    start, wanted = _window(start_s, duration_s, sample_rate, have)
    return np.concatenate(blocks, axis=-1)[:, start : start + wanted], sample_rate


def _ffmpeg_blocks(path: Path) -> Iterator[tuple[np.ndarray, int]]:
    """Yields decoded blocks [C, n] float32 of the first audio stream, each with the rate of the stream."""
    import av

    with av.open(str(path), format=RAW_FORMATS.get(path.suffix.lower())) as container:
        if not container.streams.audio:
            raise AudioError(f"{path}: holds no audio stream")
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp")
        for frame in container.decode(stream):
            frame.pts = None  # otherwise gaps in the time stamps would be filled
            yield from ((out.to_ndarray(), out.sample_rate) for out in resampler.resample(frame))
        yield from ((out.to_ndarray(), out.sample_rate) for out in resampler.resample(None))


def _window(start_s: float, duration_s: float | None, sample_rate: int, num_samples: int) -> tuple[int, int]:
    """Returns the first sample and the number of samples of a part, limited to the file."""
    start = min(round(start_s * sample_rate), num_samples)
    rest = num_samples - start
    return start, rest if duration_s is None else min(rest, max(1, round(duration_s * sample_rate)))


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise AudioError(f"{path}: no such file")
    if path.is_dir():
        raise AudioError(f"{path}: is a folder, not an audio file")
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: is an empty file")
    except OSError as error:
        raise AudioError(f"{path}: {error.strerror}") from error
    return path


@contextmanager
def _as_audio_error(path: Path) -> Iterator[None]:
    """Turns the exceptions of the decoding libraries into one line that names the file."""
    import soundfile

    try:
        yield
    except AudioError:
        raise
    except (
        soundfile.SoundFileError,
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
    ) as error:  # FFmpegError is an OSError
        reason = " ".join(str(getattr(error, "error_string", "") or getattr(error, "strerror", "") or error).split())
        raise AudioError(f"{path}: cannot be decoded ({reason[:160]})") from error
