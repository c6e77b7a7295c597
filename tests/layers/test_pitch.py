"""Pitch tracking: known pitches are found, what has none is not voiced, bad ranges are refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from latentune.layers.pitch import track_pitch

RATE = 16000
RANGE_HZ = (60.0, 400.0)


def buzz(pitch_hz: float, duration_s: float = 0.6, rate: int = RATE) -> Tensor:
    """A sum of harmonics with falling amplitudes and arbitrary phases, [1, N]."""
    time = torch.arange(round(duration_s * rate)) / rate
    return sum(torch.sin(2 * math.pi * pitch_hz * k * time + k) / k for k in range(1, 9))[None]  # type: ignore[union-attr,index]


@pytest.mark.parametrize("rate", [8000, 16000, 24000])
@pytest.mark.parametrize("pitch_hz", [70.0, 110.0, 155.5, 233.0, 380.0])
def test_the_pitch_of_a_buzz_is_found_within_one_percent(pitch_hz: float, rate: int) -> None:
    found = track_pitch(buzz(pitch_hz, rate=rate), rate, rate // 50, RANGE_HZ)
    assert found.shape == (1, 30)
    inner = found[0, 2:-2]
    assert (inner - pitch_hz).abs().max() < 0.01 * pitch_hz


def test_a_missing_fundamental_is_found() -> None:
    time = torch.arange(RATE) / RATE
    audio = sum(torch.sin(2 * math.pi * 120 * k * time) for k in (2, 3, 4, 5))
    found = track_pitch(audio[None], RATE, 320, RANGE_HZ)  # type: ignore[index]
    assert (found[0, 2:-2] - 120).abs().max() < 2


def test_noise_and_silence_are_not_voiced(generator: torch.Generator) -> None:
    assert not track_pitch(torch.randn(2, RATE, generator=generator), RATE, 320, RANGE_HZ).any()
    assert not track_pitch(torch.zeros(1, RATE), RATE, 320, RANGE_HZ).any()


def test_the_level_does_not_matter_and_a_quiet_frame_beside_a_loud_one_is_not_voiced() -> None:
    audio = buzz(150.0)
    torch.testing.assert_close(
        track_pitch(1e-3 * audio, RATE, 320, RANGE_HZ), track_pitch(audio, RATE, 320, RANGE_HZ), rtol=1e-3, atol=0.1
    )
    both = torch.cat((audio, 1e-3 * audio), dim=1)
    found = track_pitch(both, RATE, 320, RANGE_HZ)
    assert found[0, :28].all()
    assert not found[0, 33:].any()


@pytest.mark.parametrize("range_hz", [(0.0, 400.0), (400.0, 60.0), (60.0, 9000.0)])
def test_a_range_that_cannot_be(range_hz: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no pitch from"):
        track_pitch(torch.zeros(1, RATE), RATE, 320, range_hz)
