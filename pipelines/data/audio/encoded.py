"""Audio as the bytes of a file, whole or piece by piece while it is made, through FFmpeg (PyAV).

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

AudioFormat = Literal["wav", "flac", "opus", "mp3", "pcm"]
AUDIO_FORMATS: tuple[AudioFormat, ...] = get_args(AudioFormat)
PIECE_SAMPLES = 1 << 16  # given to FFmpeg at once


@dataclass(frozen=True, kw_only=True)
class FormatFacts:
    """How a format is written."""

    container: str  # of FFmpeg
    codec: str  # of FFmpeg
    mime: str
    rates: tuple[int, ...] = ()  # Hz that the codec works at; empty: any
    bits_per_s: int | None = None  # of each channel; None: lossless


FORMATS: dict[AudioFormat, FormatFacts] = {
    "wav": FormatFacts(container="wav", codec="pcm_s16le", mime="audio/wav"),
    "flac": FormatFacts(container="flac", codec="flac", mime="audio/flac"),
    "opus": FormatFacts(
        container="ogg",
        codec="libopus",
        mime="audio/ogg",
        rates=(8_000, 12_000, 16_000, 24_000, 48_000),
        bits_per_s=64_000,
    ),
    "mp3": FormatFacts(
        container="mp3",
        codec="libmp3lame",
        mime="audio/mpeg",
        rates=(8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
        bits_per_s=64_000,
    ),
    "pcm": FormatFacts(container="s16le", codec="pcm_s16le", mime="audio/pcm"),
}


class AudioEncoder:
    """Encodes audio while it is made: push each piece, and get the bytes that are ready.

    Args:
        format: `wav`, `flac` (16 bits both), `opus` (in Ogg), `mp3`, or `pcm` (16 bits, little-endian, no header).
        sample_rate: of the audio, in Hz; a codec that does not work at it resamples to its next higher one.
        channels: C, 1 or 2.
        sink: binary file to write to, in place of returning the bytes. With one that can seek, the header of a wav or
            flac file states the length; otherwise players must do without it.

    Raises:
        ValueError: another format, or more than 2 channels.
    """

    def __init__(self, format: AudioFormat, sample_rate: int, channels: int, sink: io.BytesIO | None = None):
        import av

        if format not in FORMATS:
            raise ValueError(f"no audio format {format!r}: choose one of {', '.join(FORMATS)}")
        if channels not in (1, 2):
            raise ValueError(f"audio of {channels} channels cannot be encoded: mix it to 1 or 2")
        facts = FORMATS[format]
        self.sample_rate, self.channels = sample_rate, channels
        self._ready = _Ready()
        self._file: Any = av.open(self._ready if sink is None else sink, "w", format=facts.container)
        rate = next((known for known in facts.rates if known >= sample_rate), max(facts.rates, default=sample_rate))
        layout = "mono" if channels == 1 else "stereo"
        self._stream = cast(Any, self._file.add_stream(facts.codec, rate=rate, layout=layout))
        if facts.bits_per_s is not None:
            self._stream.bit_rate = facts.bits_per_s * channels
        self._place = 0  # samples so far

    def push(self, audio: Tensor) -> bytes:
        """Takes the next audio [C, n]; NaN becomes silence, peaks beyond 1 are cut. Returns the bytes that are ready.

        Raises:
            ValueError: another number of channels.
        """
        import av

        if audio.ndim != 2 or len(audio) != self.channels:
            raise ValueError(f"audio must be [{self.channels}, samples], got shape {tuple(audio.shape)}")
        scaled = torch.nan_to_num(audio.detach().cpu().float(), posinf=1.0, neginf=-1.0).clamp(-1.0, 1.0) * 32767
        for piece in scaled.round().to(torch.int16).split(PIECE_SAMPLES, 1):
            if not piece.shape[1]:
                continue
            packed = piece.T.reshape(1, -1).contiguous().numpy()
            frame = av.AudioFrame.from_ndarray(packed, "s16", "mono" if self.channels == 1 else "stereo")
            frame.sample_rate, frame.pts = self.sample_rate, self._place
            self._place += piece.shape[1]
            self._file.mux(self._stream.encode(frame))
        return self._ready.take()

    def flush(self) -> bytes:
        """Ends the file; returns the bytes that were held back."""
        if self._place:
            self._file.mux(self._stream.encode(None))
        self._file.close()
        return self._ready.take()


def audio_bytes(audio: Tensor, sample_rate: int, format: AudioFormat = "wav") -> bytes:
    """Returns audio as the bytes of a file.

    Args:
        audio: [C, N], N at least 1; NaN becomes silence, peaks beyond 1 are cut.
        sample_rate: in Hz.
        format: as of `AudioEncoder`.

    Raises:
        ValueError: as of `AudioEncoder`, or no samples.
    """
    if audio.ndim != 2 or not audio.shape[1]:
        raise ValueError(f"audio must be [channels, samples] with at least one sample, got {tuple(audio.shape)}")
    sink = io.BytesIO()
    encoder = AudioEncoder(format, sample_rate, len(audio), sink)
    encoder.push(audio)
    encoder.flush()
    return sink.getvalue()


class _Ready:
    """A file that only grows, and whose contents are taken as they come."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)
