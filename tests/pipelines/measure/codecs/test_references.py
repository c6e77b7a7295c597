"""Reference systems: what each keeps of a recording, and what is said where a program is absent."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import Tensor

from latentune.layers.mel import magnitudes
from latentune.pipelines.measure.codecs.figures.distances import mel_distance
from latentune.pipelines.measure.codecs.figures.listening import envelope_correlation
from latentune.pipelines.measure.codecs.references import (
    ALL_REFERENCES,
    REFERENCES,
    check_references,
    fit_length,
    random_phase,
    reference_systems,
)

RATE = 16_000


def syllables(channels: int = 1, rate: int = RATE) -> Tensor:
    """Two seconds [C, N] of harmonics in syllables, each channel at a level of its own."""
    time_s = torch.arange(2 * rate) / rate
    tone = torch.stack([torch.sin(2 * torch.pi * 130 * k * time_s) / k for k in range(1, 12)]).sum(0)
    audio = 0.1 * tone * (0.55 - 0.45 * torch.cos(2 * torch.pi * 3 * time_s))
    return torch.stack([audio / (1 + channel) for channel in range(channels)])


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize(("channels", "rate"), [(1, 16_000), (2, 44_100)])
def test_every_reference_keeps_the_shape_and_its_rhythm(name: str, channels: int, rate: int) -> None:
    found, absent = reference_systems([name])
    if absent:
        pytest.skip(absent[name])
    audio = syllables(channels, rate)
    made = found[name](audio, rate)
    assert isinstance(made, Tensor)
    assert made.shape == audio.shape
    assert torch.isfinite(made).all()
    if name != "silence":
        assert envelope_correlation(audio, made, rate) > 0.5


def test_more_bits_are_better_and_the_order_of_references_is_that_of_their_rates() -> None:
    found, absent = reference_systems(["original", "opus-12", "opus-6", "codec2-1200", "silence"])
    if absent:
        pytest.skip(next(iter(absent.values())))
    audio = syllables()
    distances = [float(mel_distance(audio, system(audio, RATE), RATE)) for system in found.values()]  # type: ignore[arg-type]
    assert distances == sorted(distances)
    assert distances[0] == 0


def test_random_phases_keep_magnitudes_and_nothing_of_the_waveform() -> None:
    audio = syllables() + 0.01 * torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(0))
    made = random_phase(audio, RATE)
    assert torch.equal(made, random_phase(audio, RATE))
    cosine = torch.nn.functional.cosine_similarity(audio, made).abs()
    assert float(cosine) < 0.2
    levels = [magnitudes(x, 1024, 256).mean(-1) for x in (audio, made)]
    assert torch.corrcoef(torch.cat(levels))[0, 1] > 0.9


def test_an_absent_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda program: None)
    found, absent = reference_systems(["opus-6", "codec2-1200", "silence"])
    assert list(found) == ["silence"]
    assert absent == {
        "opus-6": "opusenc is not installed: apt-get install opus-tools",
        "codec2-1200": "c2enc is not installed: apt-get install codec2",
    }


def test_a_program_that_fails_is_an_error_with_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("opusenc") is None:
        pytest.skip("opusenc is not installed")
    with pytest.raises(RuntimeError, match="opusenc failed with exit code"):
        REFERENCES["opus-6"].system(torch.zeros(300, 10), RATE)  # more channels than Opus takes


def test_names_are_checked() -> None:
    check_references(ALL_REFERENCES)
    with pytest.raises(ValueError, match="no reference system is called 'opus-7'"):
        check_references(["opus-7"])
    with pytest.raises(ValueError, match="twice"):
        check_references(["silence", "silence"])


def test_lengths_are_cut_or_filled() -> None:
    audio = torch.ones(2, 10)
    assert fit_length(audio, 4).shape == (2, 4)
    assert fit_length(audio, 12)[:, 10:].abs().sum() == 0
