"""Channels, rate and loudness."""

import math

import pytest
import torch

from latentune.pipelines.data.audio import normalise_loudness, resample, select_channels
from latentune.pipelines.data.audio.convert import measure_loudness

RATE = 48000


def noise(seconds: float, channels: int = 2, level: float = 0.1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return level * torch.randn(channels, round(seconds * RATE), generator=generator)


@pytest.mark.parametrize("seconds", [0.0005, 0.05, 0.399, 0.4, 0.401, 3.0])
def test_loudness_is_reached_whatever_the_length(seconds):
    audio = noise(seconds, level=0.01)
    louder, gain_db = normalise_loudness(audio, RATE, -30.0)
    assert measure_loudness(louder, RATE) == pytest.approx(-30.0, abs=0.05)
    torch.testing.assert_close(louder, audio * 10 ** (gain_db / 20))


def test_full_scale_997_hz_sine_is_about_minus_3_lufs():
    time_s = torch.arange(5 * RATE) / RATE
    sine = torch.sin(2 * math.pi * 997 * time_s)[None]
    assert measure_loudness(sine, RATE) == pytest.approx(-3.01, abs=0.05)  # the calibration of ITU-R BS.1770


def test_peaks_stay_below_one():
    audio = torch.zeros(1, RATE)
    audio[0, 1000] = 0.5
    louder, gain_db = normalise_loudness(audio, RATE, -5.0)
    assert float(louder.abs().max()) == pytest.approx(1.0)
    assert gain_db == pytest.approx(20 * math.log10(2))


def test_silence_is_left_alone():
    silence = torch.zeros(2, 100)
    assert measure_loudness(silence, RATE) == -math.inf
    same, gain_db = normalise_loudness(silence, RATE, -20.0)
    assert torch.equal(same, silence)
    assert gain_db == 0.0


def test_channel_policies():
    stereo, six = noise(0.01), noise(0.01, channels=6)
    assert torch.equal(select_channels(stereo, 2), stereo)
    assert torch.equal(select_channels(stereo, 1), stereo.mean(0, keepdim=True))
    assert torch.equal(select_channels(stereo[:1], 2), stereo[:1].expand(2, -1))
    assert torch.equal(select_channels(six, 2), six.mean(0, keepdim=True).expand(2, -1))
    assert torch.equal(select_channels(six, 2, "first"), six[:2])
    assert torch.equal(select_channels(six, 1, "first"), six[:1])
    assert torch.equal(select_channels(six[:1], 2, "first"), six[:1].expand(2, -1))
    for audio in (stereo[:1], six):
        with pytest.raises(ValueError, match=f"{len(audio)} channels, 2 required"):
            select_channels(audio, 2, "error")


def test_resampling_keeps_a_tone_and_the_length():
    time_s = torch.arange(44100) / 44100
    out = resample(torch.sin(2 * math.pi * 1000 * time_s)[None], 44100, 16000)
    want = torch.sin(2 * math.pi * 1000 * torch.arange(16000) / 16000)[None]
    assert out.shape == want.shape
    torch.testing.assert_close(out[:, 500:-500], want[:, 500:-500], rtol=0, atol=1e-3)
