"""Audio as bytes: what is read back has the length and the level, whole and in pieces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.pipelines.data.audio.encoded import AUDIO_FORMATS, AudioEncoder, AudioFormat, audio_bytes
from latentune.pipelines.data.audio.read import read_audio

RATES: dict[AudioFormat, int] = {"opus": 48_000, "mp3": 44_100}  # of files at 37 kHz
LOSSLESS = ("wav", "flac")


def tone(rate: int, channels: int) -> Tensor:
    return 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(rate) / rate)[None].repeat(channels, 1)


def read_back(data: bytes, format: AudioFormat, folder: Path) -> tuple[Tensor, int]:
    path = folder / f"a.{format}"
    path.write_bytes(data)
    return read_audio(path)


@pytest.mark.parametrize("format", [name for name in AUDIO_FORMATS if name != "pcm"])
@pytest.mark.parametrize(("rate", "channels"), [(24_000, 1), (37_000, 2)])
def test_files_and_streams_hold_the_audio(format: AudioFormat, rate: int, channels: int, tmp_path: Path) -> None:
    audio = tone(rate, channels)
    encoder = AudioEncoder(format, rate, channels)
    streamed = b"".join([*(encoder.push(piece) for piece in audio.split(999, 1)), encoder.flush()])
    for data, padding_s in ((audio_bytes(audio, rate, format), 0.0), (streamed, 0.08 if format == "mp3" else 0.0)):
        read, read_rate = read_back(data, format, tmp_path)
        assert read_rate == (rate if rate == 24_000 else RATES.get(format, rate))
        assert len(read) == channels
        assert read.shape[1] / read_rate == pytest.approx(1.0 + padding_s, abs=0.04 if padding_s else 1e-4)
        middle = read[:, read_rate // 4 : read_rate // 2]
        assert middle.square().mean().sqrt() == pytest.approx(0.3 / 2**0.5, rel=0.07)
        if format in LOSSLESS:
            assert (read - audio).abs().max() < 1 / 32767


def test_pcm_is_the_samples_and_every_piece_is_ready_at_once() -> None:
    encoder, audio = AudioEncoder("pcm", 8000, 1), torch.tensor([[0.0, 1.0, -1.0, 2.0, float("nan")]])
    assert encoder.push(audio) + encoder.flush() == audio_bytes(audio, 8000, "pcm")
    samples = torch.frombuffer(bytearray(audio_bytes(audio, 8000, "pcm")), dtype=torch.int16)
    assert samples.tolist() == [0, 32767, -32767, 32767, 0]


def test_wrong_audio_is_refused() -> None:
    with pytest.raises(ValueError, match="no audio format 'aac': choose one of wav"):
        audio_bytes(torch.zeros(1, 8), 8000, "aac")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one sample"):
        audio_bytes(torch.zeros(1, 0), 8000)
    with pytest.raises(ValueError, match="3 channels"):
        AudioEncoder("wav", 8000, 3)
    with pytest.raises(ValueError, match=r"audio must be \[1, samples\]"):
        AudioEncoder("wav", 8000, 1).push(torch.zeros(2, 8))


def test_an_empty_stream_ends() -> None:
    assert AudioEncoder("pcm", 8000, 1).flush() == b""
