import numpy as np
import pytest
import torch

from latentune.layers.mel import hz_to_mel, magnitudes, mel_filters, mel_to_hz


def test_the_scale_inverts_and_rises() -> None:
    hz = np.linspace(0.0, 24_000.0, 1001)
    np.testing.assert_allclose(mel_to_hz(hz_to_mel(hz)), hz, atol=1e-9)
    assert (np.diff(hz_to_mel(hz)) > 0).all()
    assert float(hz_to_mel(np.array(1000.0))) == pytest.approx(15.0, abs=1e-12)


@pytest.mark.parametrize(
    ("sample_rate", "fft_samples", "num_mels", "min_hz", "max_hz"),
    [(16_000, 512, 96, 0.0, None), (48_000, 1024, 64, 50.0, 14_000.0), (44_100, 2048, 128, 0.0, None)],
)
def test_filters_are_those_of_torchaudio(
    sample_rate: int, fft_samples: int, num_mels: int, min_hz: float, max_hz: float | None
) -> None:
    functional = pytest.importorskip("torchaudio.functional", exc_type=ImportError)
    theirs = functional.melscale_fbanks(
        fft_samples // 2 + 1,
        min_hz,
        max_hz or sample_rate / 2,
        num_mels,
        sample_rate,
        norm="slaney",
        mel_scale="slaney",
    )
    ours = mel_filters(sample_rate, fft_samples, num_mels, min_hz, max_hz)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours.float(), theirs.T, atol=1e-6, rtol=1e-4)


def test_filters_are_triangles_of_unit_area() -> None:
    filters = mel_filters(48_000, 65_536, 20, 300.0, 20_000.0)
    torch.testing.assert_close(filters.sum(1) * 48_000 / 65_536, torch.ones(20, dtype=torch.float64), atol=1e-2, rtol=0)
    assert filters.min() == 0


def test_the_filters_given_out_are_the_callers_own() -> None:
    mel_filters(16_000, 512, 8).zero_()
    assert mel_filters(16_000, 512, 8).sum() > 0


@pytest.mark.parametrize(("num_mels", "low", "high"), [(0, 0, 4000), (8, 4000, 4000), (8, 0, 9000), (8, -1, 4000)])
def test_an_impossible_range_is_refused(num_mels: int, low: float, high: float) -> None:
    with pytest.raises(ValueError, match="mel bands"):
        mel_filters(16_000, 512, num_mels, low, high)


def test_magnitudes_find_a_sine_and_keep_leading_axes_and_dtype() -> None:
    time_s = torch.arange(8000, dtype=torch.float64) / 8000
    audio = torch.sin(2 * torch.pi * 1000 * time_s).expand(2, 3, -1)
    frames = magnitudes(audio, 512, 128)
    assert frames.shape == (2, 3, 257, 63)
    assert frames.dtype == torch.float64
    assert frames[1, 2, :, 30].argmax() == 64
    assert magnitudes(audio[..., :1], 512, 128).shape == (2, 3, 257, 1)
