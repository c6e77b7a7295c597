"""Figures that follow the ear: the original scores best, a shuffled one worst, and each reads what was done to it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from latentune.pipelines.measure.codecs.figures.borders import seam_db
from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.figures.listening import (
    envelope_correlation,
    level_difference_db,
    low_mel_distance,
)
from latentune.pipelines.measure.codecs.figures.pitch import gross_pitch_error, pitch_hz

RATE = 16_000


def voice(seconds: float = 2.0, pitch: float = 140.0, seed: int = 0) -> Tensor:
    """Harmonics [1, N] of a gliding pitch, in syllables, over a little noise."""
    generator = torch.Generator().manual_seed(seed)
    time_s = torch.arange(round(RATE * seconds)) / RATE
    phase = 2 * torch.pi * (pitch * time_s + 4 * torch.sin(2 * torch.pi * 0.7 * time_s))
    harmonics = torch.stack([torch.sin(k * phase) / k for k in range(1, 20)]).sum(0)
    syllables = (0.5 - 0.5 * torch.cos(2 * torch.pi * 3.3 * time_s)) ** 2
    noise = torch.randn(len(time_s), generator=generator)
    return (0.1 * harmonics * syllables + 0.001 * noise)[None]


def noise(seconds: float = 2.0, seed: int = 1) -> Tensor:
    return 0.1 * torch.randn(1, round(RATE * seconds), generator=torch.Generator().manual_seed(seed))


def shuffled(audio: Tensor, piece: int = 800) -> Tensor:
    """Pieces of 50 ms in another order."""
    pieces = audio[:, : audio.shape[-1] // piece * piece].unflatten(-1, (-1, piece))
    order = torch.randperm(pieces.shape[1], generator=torch.Generator().manual_seed(0))
    return pieces[:, order].flatten(1)


def test_the_level_difference_is_the_gain_with_its_sign() -> None:
    speech = voice()
    for gain_db in (-6.0, 0.0, 3.0):
        assert level_difference_db(speech, speech * 10 ** (gain_db / 20), RATE) == pytest.approx(gain_db, abs=1e-3)
    stereo = torch.cat([speech, 0.5 * speech])
    assert level_difference_db(stereo, 2 * stereo, RATE) == pytest.approx(6.02, abs=0.01)


@pytest.mark.parametrize(("figure", "sign"), [(low_mel_distance, -1), (envelope_correlation, 1)])
def test_the_original_scores_best_and_a_shuffled_one_worst(
    figure: Callable[[Tensor, Tensor, int], float], sign: int
) -> None:
    speech = voice()
    near = speech + 0.002 * noise()
    values = [sign * figure(speech, made, RATE) for made in (speech, near, shuffled(speech))]
    assert values[0] > values[1] > values[2]
    assert abs(values[0]) == pytest.approx(1.0 if sign > 0 else 0.0, abs=1e-5)


def test_the_low_band_distance_does_not_hear_what_lies_above() -> None:
    speech = voice()
    time_s = torch.arange(speech.shape[-1]) / RATE
    high, low = (0.05 * torch.sin(2 * torch.pi * hz * time_s)[None] for hz in (6500.0, 2000.0))
    assert low_mel_distance(speech, speech + high, RATE) < 0.1 * low_mel_distance(speech, speech + low, RATE)


def test_the_envelope_correlation_depends_on_neither_level_nor_pitch_but_on_rhythm() -> None:
    speech = voice()
    assert envelope_correlation(speech, 0.3 * speech, RATE) == pytest.approx(1.0, abs=1e-4)
    assert envelope_correlation(speech, voice(pitch=180.0), RATE) > 0.6
    assert abs(envelope_correlation(speech, noise(), RATE)) < 0.2
    assert envelope_correlation(speech, torch.zeros_like(speech), RATE) == 0.0
    half_beat = torch.roll(speech, round(RATE / 3.3 / 2), -1)
    assert envelope_correlation(speech, half_beat, RATE) < 0.0


@pytest.mark.parametrize("figure", [level_difference_db, envelope_correlation])
def test_a_silent_original_has_no_value(figure: Callable[[Tensor, Tensor, int], float]) -> None:
    silent = torch.zeros(1, RATE)
    with pytest.raises(Undefined, match="silence"):
        figure(silent, voice(1.0), RATE)
    with pytest.raises(ValueError, match="one shape"):
        figure(voice(1.0), silent[:, 1:], RATE)
    with pytest.raises(Undefined, match="silence"):
        level_difference_db(voice(1.0), silent, RATE)


def test_a_steady_tone_has_no_envelope_to_correlate() -> None:
    tone = torch.sin(torch.arange(RATE) * 0.3)[None]
    for audio, reason in ((tone, "no band"), (tone[:, :100], "shorter than")):
        with pytest.raises(Undefined, match=reason):
            envelope_correlation(audio, audio, RATE)


# ---------------------------------------------------------------------- seam


CHUNK, LEAD = 2048, 300


def with_clicks(audio: Tensor, size: float, lead: int = LEAD) -> Tensor:
    made = audio.clone()
    made[:, CHUNK - lead :: CHUNK] += size
    return made


def test_a_seam_is_a_rise_of_the_treble_at_the_borders_of_chunks() -> None:
    audio = noise(3.0)
    where = {"chunk_samples": CHUNK, "lead_samples": LEAD}
    assert seam_db(audio, RATE, **where) == pytest.approx(0.0, abs=0.7)
    seams = [seam_db(with_clicks(audio, size), RATE, **where) for size in (0.5, 2.0)]
    assert seams[0] > 1.0
    assert seams[1] > seams[0] + 5.0
    assert abs(seam_db(with_clicks(audio, 2.0, lead=LEAD + CHUNK // 2), RATE, **where)) < 1.0, "not at a border"
    louder = seam_db(0.1 * with_clicks(audio, 2.0), RATE, **where)
    assert louder == pytest.approx(seams[1], abs=0.01), "it does not depend on the level"
    rumble = torch.zeros_like(audio)
    rumble[:, CHUNK - LEAD - 256 :: CHUNK] = 1.0
    low = torch.nn.functional.avg_pool1d(rumble[None], 257, 1, 128)[0]
    assert seam_db(audio + low, RATE, **where) < 1.0, "below 4 kHz it is not a seam"


def test_where_there_is_no_seam_to_measure_it_is_said() -> None:
    with pytest.raises(Undefined, match="no border"):
        seam_db(noise(0.1), RATE, chunk_samples=CHUNK)
    with pytest.raises(Undefined, match="nothing above 4000 Hz at 8000 Hz"):
        seam_db(noise(), 8000, chunk_samples=CHUNK)
    with pytest.raises(Undefined, match="silent above"):
        seam_db(torch.zeros(1, RATE), RATE, chunk_samples=CHUNK)
    with pytest.raises(ValueError, match="nothing between borders"):
        seam_db(noise(), RATE, chunk_samples=100)


# ---------------------------------------------------------------------- pitch


def test_the_pitch_of_harmonics_is_theirs() -> None:
    pytest.importorskip("swift_f0")
    found = pitch_hz(voice(2.0, 200.0), RATE)
    voiced = found[found > 0]
    assert len(voiced) > 0.4 * len(found)
    assert np.median(voiced) == pytest.approx(200.0, rel=0.08)
    assert (pitch_hz(noise(), RATE) > 0).mean() < 0.2


def test_the_gross_pitch_error_counts_wrong_and_lost_pitch() -> None:
    pytest.importorskip("swift_f0")
    speech = voice()
    assert gross_pitch_error(speech, speech, RATE) == 0.0
    assert gross_pitch_error(speech, 0.3 * speech + 0.001 * noise(), RATE) < 0.1
    assert gross_pitch_error(speech, voice(pitch=140.0 * 1.1), RATE) < 0.1, "10 % is not a gross error"
    assert gross_pitch_error(speech, voice(pitch=140.0 * 1.5), RATE) > 0.9
    assert gross_pitch_error(speech, noise(), RATE) > 0.7
    with pytest.raises(Undefined, match="voiced"):
        gross_pitch_error(noise(), speech, RATE)
    with pytest.raises(Undefined, match="silence"):
        gross_pitch_error(0 * speech, speech, RATE)
