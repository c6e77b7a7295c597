"""Audio files for tests of reading: tones, and files that FFmpeg writes."""

import math
from pathlib import Path

import av
import numpy as np


def tones(rate: int = 16000, seconds: float = 1.5, channels: int = 2, hz: float = 440.0) -> np.ndarray:
    """[C, N] float32: another tone in each channel."""
    time_s = np.arange(round(rate * seconds)) / rate
    return np.stack([0.4 * np.sin(2 * math.pi * hz * (c + 1) * time_s) for c in range(channels)]).astype(np.float32)


def write_with_ffmpeg(
    path: Path, audio: np.ndarray, rate: int, codec: str, format: str | None = None, **options: str
) -> None:
    """Encodes audio [C, N].

    Args:
        path: of the file.
        audio: mono or stereo.
        rate: in Hz.
        codec: FFmpeg's name of the encoder.
        format: FFmpeg's name of the container; None takes that of the suffix.
        options: of the container.
    """
    with av.open(str(path), "w", format=format, options=options) as container:
        add_stream(container, audio, rate, codec)


def add_stream(container, audio: np.ndarray, rate: int, codec: str) -> None:  # type: ignore[no-untyped-def]
    """Encodes audio [C, N] as one more stream of a container, of which it is the last to be written to."""
    layout = "mono" if len(audio) == 1 else "stereo"
    stream = container.add_stream(codec, rate=rate, layout=layout)
    frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout=layout)
    frame.sample_rate = rate
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 320)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))
