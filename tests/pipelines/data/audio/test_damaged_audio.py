"""Damaged audio files are read, or refused with a reason; nothing else happens."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from mutations import damaged

from latentune.core.errors import AudioError
from latentune.pipelines.data.audio.read import probe, read_audio
from latentune.pipelines.data.audio.reader import TRUNCATED_S

RATE, COPIES = 16000, 45
ENCODERS = {"mp3": ("libmp3lame", 16000), "m4a": ("aac", 16000), "webm": ("libopus", 48000)}
FORMATS = ("wav", "flac", "ogg", "aiff", "au", "caf", "w64", *ENCODERS)


def sound() -> np.ndarray:
    time_s = np.arange(RATE) / RATE
    noise = np.random.default_rng(0).standard_normal(RATE)
    return (0.3 * np.sin(2 * np.pi * 440 * time_s) + 0.05 * noise).astype(np.float32)


def write(path: Path) -> None:
    if path.suffix[1:] not in ENCODERS:
        soundfile.write(path, sound(), RATE)
        return
    codec, rate = ENCODERS[path.suffix[1:]]
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.repeat(sound(), rate // RATE)[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
def test_damaged_audio(kind: str, tmp_path: Path) -> None:
    whole, path = tmp_path / f"whole.{kind}", tmp_path / f"damaged.{kind}"
    write(whole)
    assert probe(whole).duration_s == pytest.approx(1.0, abs=0.1)
    num_read, reasons = 0, []
    for number in range(COPIES):
        path.write_bytes(damaged(whole.read_bytes(), number))
        try:
            info = probe(path)
            audio, rate = read_audio(path)
        except AudioError as error:
            reasons.append(str(error))
            continue
        num_read += 1
        assert rate == info.sample_rate
        assert abs(audio.shape[-1] - info.num_samples) <= TRUNCATED_S * rate
    assert num_read
    assert reasons
    assert all(reason.startswith(f"{path}: ") and len(reason) < 1000 for reason in reasons)
