"""Reading audio: the content decides how. libsndfile where the length is known, else FFmpeg (PyAV).

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ....core.errors import AudioError
from .ffmpeg_reader import FFmpegReader
from .formats import RAW_FORMATS
from .header import read_header
from .places import AudioPath, local_file
from .reader import AudioReader
from .soundfile_reader import ChainedReader, SoundfileReader


@dataclass(frozen=True, kw_only=True)
class AudioInfo:
    """Facts about an audio file, from its header or, for formats without an exact one, counted."""

    num_samples: int  # per channel, at sample_rate
    sample_rate: int  # Hz
    channels: int

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate


class AudioFile:
    """An open audio file. One thread at a time may use it.

    Args:
        path: of the file.

    Raises:
        AudioError: the file does not exist, is not audio, is empty, or is truncated as far as its header shows it.
    """

    def __init__(self, path: str | AudioPath):
        self.path = Path(path) if isinstance(path, str) else path
        with ExitStack() as opened:
            local = _local_file(self.path, opened)
            self._file = _open_file(local)
            opened.callback(os.close, self._file)
            with self._as_audio_error():
                self._reader = _open_reader(local, self._file)
            opened.callback(self._reader.close)
            self._opened = opened.pop_all()

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self._reader.sample_rate

    @property
    def channels(self) -> int:
        """Number of channels."""
        return self._reader.channels

    @property
    def seekable(self) -> bool:
        """False if reading before the last place means decoding from the beginning again."""
        return self._reader.seekable

    def info(self) -> AudioInfo:
        """Returns length, rate and channels; everything is decoded if the header does not guarantee the length.

        Raises:
            AudioError: it cannot be decoded, or holds nothing.
        """
        with self._as_audio_error():
            num_samples = self._reader.count()
            if num_samples < 1:
                raise AudioError("holds no audio samples")
        return AudioInfo(num_samples=num_samples, sample_rate=self._reader.sample_rate, channels=self._reader.channels)

    def blocks(self, duration_s: float) -> Iterator[Tensor]:
        """Yields the file from its beginning in blocks [C, N] of `duration_s` seconds, the last one shorter.

        Raises:
            AudioError: it cannot be decoded.
        """
        length, place = max(1, round(duration_s * self.sample_rate)), 0
        while True:
            with self._as_audio_error():
                block = self._reader.read(place, length)
            if not block.shape[-1]:
                return
            place += block.shape[-1]
            yield torch.from_numpy(np.ascontiguousarray(block))

    def read(self, *, start_s: float = 0.0, duration_s: float | None = None) -> tuple[Tensor, int]:
        """Reads the file or a part of it; see `read_audio`."""
        check_part(start_s, duration_s)
        rate = self._reader.sample_rate
        start, count = round(start_s * rate), None if duration_s is None else max(1, round(duration_s * rate))
        with self._as_audio_error():
            audio = self._reader.read(start, count)
            if audio.shape[-1] < 1:
                raise AudioError("holds no audio samples" + (f" at {start_s:g} s" if start_s else ""))
        return torch.from_numpy(np.ascontiguousarray(audio)), rate

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _as_audio_error(self) -> Iterator[None]:
        """Turns the exceptions of the decoding libraries into one line that names the file."""
        try:
            yield
        except AudioError as error:
            raise AudioError(f"{self.path}: {error}") from error
        except _decoder_errors() as error:
            raise AudioError(f"{self.path}: cannot be decoded ({_reason(error)})") from error


def probe(path: str | AudioPath) -> AudioInfo:
    """Returns length, rate and channels of a file, which is decoded if its header does not guarantee a length.

    Raises:
        AudioError: the file does not exist, is not audio, is truncated as far as its header shows it, or is empty.
    """
    with AudioFile(path) as file:
        return file.info()


def read_audio(path: str | AudioPath, *, start_s: float = 0.0, duration_s: float | None = None) -> tuple[Tensor, int]:
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
    check_part(start_s, duration_s)
    with AudioFile(path) as file:
        return file.read(start_s=start_s, duration_s=duration_s)


def check_part(start_s: float, duration_s: float | None) -> None:
    """Raises ValueError unless the start is at least 0 and the duration above 0 or None."""
    if not start_s >= 0 or (duration_s is not None and not duration_s > 0):
        raise ValueError(f"start_s must be >= 0 and duration_s > 0, got {start_s} and {duration_s}")


def _local_file(path: AudioPath, opened: ExitStack) -> Path:
    """Returns where a file is on this machine until `opened` is closed."""
    try:
        return opened.enter_context(local_file(path))
    except (OSError, ValueError) as error:
        raise AudioError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error


def _open_file(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise AudioError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with NUL
        raise AudioError(f"{path}: cannot be opened ({_reason(error)})") from error


def _open_reader(path: Path, file: int) -> AudioReader:
    facts = os.fstat(file)
    if stat.S_ISDIR(facts.st_mode):
        raise AudioError("is a folder, not an audio file")
    if not facts.st_size:
        raise AudioError("is an empty file")
    header = read_header(file, facts.st_size)
    raw_format = RAW_FORMATS.get(path.suffix.lower()) if header.container == "unknown" else None
    refused = ""
    if header.exact and raw_format is None:
        try:
            return ChainedReader(file, header.links) if header.links else SoundfileReader(file, header)
        except _decoder_errors() as error:
            refused = f"libsndfile: {_reason(error)}; "
    try:
        return FFmpegReader(path, header, raw_format)
    except _decoder_errors() as error:
        raise AudioError(f"cannot be decoded ({refused}FFmpeg: {_reason(error)})") from error


def _decoder_errors() -> tuple[type[Exception], ...]:
    """Returns what the decoding libraries raise; FFmpeg's errors have no base in common with those of Python."""
    import soundfile
    from av.error import FFmpegError

    return (soundfile.SoundFileError, FFmpegError, OSError, RuntimeError, ValueError, EOFError, LookupError)


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", "") or getattr(error, "strerror", "") or str(error)
    return " ".join(str(text).split())[:120]
