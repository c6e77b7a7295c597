import math
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from latentune.core.errors import MissingPackageError
from latentune.pipelines.measure.codecs.figures.catalog import ALL_FIGURES, PAIR_FIGURES, check_figures, split_available
from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.figures.quality import loudness_error_lu, pesq, stoi

SPEECH = Path(__file__).resolve().parents[4] / "demos" / "fixtures" / "austen_0880.wav"
RATE = 16_000


@pytest.fixture(scope="module")
def pair() -> tuple[Tensor, Tensor]:
    """Speech [1, N] at 16 kHz and the same with noise."""
    audio, rate = soundfile.read(SPEECH, dtype="float32")
    assert rate == RATE
    speech = torch.from_numpy(audio)[None]
    return speech, speech + 0.01 * torch.randn(speech.shape, generator=torch.Generator().manual_seed(0))


def test_pesq_is_the_packages_in_both_bands(pair: tuple[Tensor, Tensor]) -> None:
    package = pytest.importorskip("pesq")
    import soxr

    arrays = [audio[0].double().numpy() for audio in pair]
    assert pesq(*pair, RATE) == pytest.approx(package.pesq(RATE, *arrays, "wb"), abs=1e-4)
    narrow = [soxr.resample(audio[0].numpy(), RATE, 8000, "HQ").astype(np.float64) for audio in pair]
    assert pesq(*pair, RATE, "nb") == pytest.approx(package.pesq(8000, *narrow, "nb"), abs=1e-3)


@pytest.mark.parametrize("pause_s", [0.25, 0.6])
def test_pesq_measures_recordings_of_many_utterances(pair: tuple[Tensor, Tensor], pause_s: float) -> None:
    pytest.importorskip("pesq")
    burst = pair[0][:, RATE // 2 : RATE // 2 + round(0.35 * RATE)]
    speech = torch.cat([burst, torch.zeros(1, round(pause_s * RATE))], 1).repeat(1, 60)
    noisy = speech + 0.003 * torch.randn(speech.shape, generator=torch.Generator().manual_seed(0))
    assert pesq(speech, speech, RATE) > 4.5
    assert 1.0 < pesq(speech, noisy, RATE) < 4.5


def test_stoi_is_the_packages_and_takes_any_rate(pair: tuple[Tensor, Tensor]) -> None:
    package = pytest.importorskip("pystoi")
    arrays = [audio[0].double().numpy() for audio in pair]
    assert stoi(*pair, RATE) == pytest.approx(package.stoi(*arrays, RATE, extended=False), abs=1e-6)
    assert stoi(*pair, RATE, extended=True) == pytest.approx(package.stoi(*arrays, RATE, extended=True), abs=1e-6)
    import soxr

    stereo = [torch.from_numpy(soxr.resample(audio[0].numpy(), RATE, 48_000)).expand(2, -1) for audio in pair]
    assert stoi(*stereo, 48_000) == pytest.approx(stoi(*pair, RATE), abs=2e-3)


def test_loudness_error_is_the_gain_whichever_its_sign(pair: tuple[Tensor, Tensor]) -> None:
    speech = pair[0]
    for gain_db in (-6.0, 3.0):
        louder = speech * 10 ** (gain_db / 20)
        assert loudness_error_lu(speech, louder, RATE) == pytest.approx(abs(gain_db), abs=0.05)


@pytest.mark.parametrize("name", ["pesq_wb", "pesq_nb", "stoi", "estoi", "loudness_error_lu"])
def test_short_and_silent_clips_have_no_value_but_a_reason(name: str, pair: tuple[Tensor, Tensor]) -> None:
    figure = PAIR_FIGURES[name]
    if figure.package:
        pytest.importorskip(figure.package)
    speech, silent = pair[0], torch.zeros_like(pair[0])
    for reference, estimate in ((speech[:, :1000], speech[:, :1000]), (silent, speech), (silent, silent)):
        with pytest.raises(Undefined, match=r"[a-z]"):
            figure.measure(reference, estimate, RATE)
    try:  # a silent estimate of real speech has a value in some of them; never NaN
        outcome = math.isfinite(figure.measure(speech, silent, RATE))
    except Undefined as error:
        outcome = "silen" in str(error)
    assert outcome


@pytest.mark.parametrize("name", ["pesq_wb", "stoi", "loudness_error_lu"])
def test_mistakes_are_refused(name: str, pair: tuple[Tensor, Tensor]) -> None:
    figure, speech = PAIR_FIGURES[name], pair[0]
    if figure.package:
        pytest.importorskip(figure.package)
    measure = figure.measure
    with pytest.raises(ValueError, match="one shape"):
        measure(speech, speech[:, :-1], RATE)
    with pytest.raises(ValueError, match="sample_rate"):
        measure(speech, speech, 0)
    with pytest.raises(ValueError, match="NaN"):
        measure(speech, speech / 0 * 0, RATE)


def test_better_tells_the_direction(pair: tuple[Tensor, Tensor]) -> None:
    speech, noisy = pair
    noisier = speech + 5 * (noisy - speech)
    for name, figure in PAIR_FIGURES.items():
        if figure.package:
            pytest.importorskip(figure.package)
        near, far = figure.measure(speech, noisy, RATE), figure.measure(speech, noisier, RATE)
        better = {"lower": near < far, "higher": near > far, "zero": abs(near) < abs(far)}
        assert better[figure.facts.better], name  # type: ignore[index]


def test_unknown_figures_are_refused_and_missing_packages_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"no figure is called 'psnr'.*mel_distance"):
        check_figures(["mel_distance", "psnr"])
    with pytest.raises(ValueError, match="no figure to measure"):
        check_figures([])
    monkeypatch.setattr("latentune.pipelines.measure.codecs.figures.catalog.is_installed", lambda name: None)
    found, absent = split_available(ALL_FIGURES)
    assert set(absent) == {"pesq_wb", "pesq_nb", "stoi", "estoi", "gross_pitch_error"}
    assert "pip install 'pystoi>=" in absent["stoi"]
    assert set(found) | set(absent) == set(ALL_FIGURES)
    monkeypatch.setitem(sys.modules, "pystoi", None)
    monkeypatch.setattr("latentune.pipelines.measure.codecs.figures.common.is_installed", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"pystoi is not installed: pip install 'pystoi>="):
        stoi(torch.ones(1, RATE), torch.ones(1, RATE), RATE)
