"""Loudness against torchaudio's independent meter, and the gains that follow from it."""

from __future__ import annotations

import math

import pytest
import torch

from latentune.layers import loudness
from latentune.layers.loudness import apply_gain, decoded_level, loudness_gain_db, measure_loudness, normalise_loudness

RATE = 16000


def noise(num_samples: int, channels: int = 1, level: float = 0.1, seed: int = 0) -> torch.Tensor:
    return level * torch.randn(channels, num_samples, generator=torch.Generator().manual_seed(seed))


# a partial gating block at the end, of which pyloudnorm alone would count some
@pytest.mark.parametrize("num_samples", [6402, 7999, 8000, 8001, 8800, 9599, 20001])
@pytest.mark.parametrize("sample_rate", [16000, 44100])
def test_the_meter_agrees_with_torchaudio(num_samples: int, sample_rate: int) -> None:
    functional = pytest.importorskip("torchaudio").functional
    num_samples = num_samples * sample_rate // RATE
    audio = noise(num_samples, channels=2) * torch.linspace(0.05, 1, num_samples)
    theirs = functional.loudness(audio, sample_rate).item()
    assert measure_loudness(audio, sample_rate) == pytest.approx(theirs, abs=2e-3)


@pytest.mark.parametrize("duration_s", [9.95, 10.0, 10.25, 10.3, 10.35, 11.0, 20.4, 47.33])
@pytest.mark.parametrize("sample_rate", [16000, 22050])
def test_pieces_of_long_audio_are_measured_as_the_whole(
    duration_s: float, sample_rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loud second before each piece must not be heard in it."""
    audio = noise(round(duration_s * sample_rate), channels=2) * torch.linspace(
        0.001, 1, round(duration_s * sample_rate)
    )
    audio[:, 9 * sample_rate : 10 * sample_rate] = 0.9
    pieces = measure_loudness(audio, sample_rate)
    monkeypatch.setattr(loudness, "PIECE_S", 1000)
    assert pieces == pytest.approx(measure_loudness(audio, sample_rate), abs=1e-6)


@pytest.mark.parametrize("num_samples", [400, 6400, 9000, 40_000, 200_000])
def test_silence_that_follows_counts_without_being_there(num_samples: int) -> None:
    audio = noise(num_samples - 300)
    padded = torch.nn.functional.pad(audio, (0, 300))
    assert measure_loudness(audio, RATE, num_samples) == measure_loudness(padded, RATE)
    for min_power in (0.0, 0.009, 0.02):
        one, other = (
            loudness_gain_db(part, RATE, -30.0, min_power=min_power, num_samples=num_samples)
            for part in (audio, padded)
        )
        assert one == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("num_samples", [1, 2, 100, 6399, 6400, 6401])
def test_short_clips_have_a_loudness(num_samples: int) -> None:
    loudness = measure_loudness(noise(num_samples), RATE)
    assert math.isfinite(loudness)
    assert measure_loudness(2 * noise(num_samples), RATE) == pytest.approx(loudness + 6.02, abs=0.01)


def test_silence_has_none_and_is_left_alone() -> None:
    assert measure_loudness(torch.zeros(1, RATE), RATE) == -math.inf
    assert loudness_gain_db(torch.zeros(1, RATE), RATE, -20.0) == 0.0
    assert loudness_gain_db(noise(RATE, level=1e-5), RATE, -20.0) == 0.0


def test_the_target_is_reached() -> None:
    louder, gain_db = normalise_loudness(noise(RATE, level=0.01), RATE, -20.0)
    assert measure_loudness(louder, RATE) == pytest.approx(-20.0, abs=1e-3)
    assert gain_db == loudness_gain_db(noise(RATE, level=0.01), RATE, -20.0)
    softer, gain_db = normalise_loudness(noise(RATE, level=0.5), RATE, -40.0)
    assert measure_loudness(softer, RATE) == pytest.approx(-40.0, abs=1e-3)
    assert gain_db < 0


@pytest.mark.parametrize("peak", [1.0, 0.95])
def test_a_peak_that_would_pass_one_gets_the_wanted_size(peak: float) -> None:
    click = torch.zeros(1, RATE)
    click[0, 1000] = 0.5
    gain_db = loudness_gain_db(click, RATE, -5.0, peak=peak)
    assert gain_db == pytest.approx(20 * math.log10(peak / 0.5))
    # within 1 the peak rule has no say
    assert loudness_gain_db(noise(RATE, level=0.01), RATE, -30.0, peak=peak) == loudness_gain_db(
        noise(RATE, level=0.01), RATE, -30.0
    )


def test_what_is_below_the_power_wanted_is_left_alone() -> None:
    quiet = noise(RATE, level=0.9e-3)
    assert loudness_gain_db(quiet, RATE, -20.0, min_power=1e-6) == 0.0
    assert loudness_gain_db(quiet * 1.3, RATE, -20.0, min_power=1e-6) > 30


def test_a_gain_is_undone_item_by_item() -> None:
    audio = torch.stack([noise(100), noise(100, seed=1)])
    gains = torch.tensor([-6.0, 12.0])
    louder = apply_gain(audio, gains)
    torch.testing.assert_close(louder[0] * 10 ** (6 / 20), audio[0])
    torch.testing.assert_close(decoded_level(louder, gains), audio)
    assert torch.equal(decoded_level(audio, None), audio)
    assert decoded_level(20 * audio, None).abs().max() == 1


@pytest.mark.parametrize("gains", [torch.zeros(3), torch.zeros(1, 2), torch.tensor([0.0, float("nan")])])
def test_gains_that_do_not_fit_are_refused(gains: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"gain_db must be \[2\] finite"):
        apply_gain(torch.zeros(2, 1, 5), gains)
