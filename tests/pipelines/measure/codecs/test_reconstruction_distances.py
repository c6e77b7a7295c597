import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from latentune.layers.mel import mel_filters
from latentune.pipelines.measure.codecs.figures.distances import (
    mel_distance,
    multi_resolution_mel_distance,
    multi_resolution_stft_distance,
    si_sdr_db,
    stft_distance,
)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_si_sdr_is_the_ratio_that_was_mixed_and_ignores_scale_and_offset() -> None:
    target, other = noise(2, 48_000, dtype=torch.float64), noise(2, 48_000, seed=1, dtype=torch.float64)
    target -= target.mean(-1, keepdim=True)
    other -= other.mean(-1, keepdim=True)
    other -= (other * target).sum(-1, keepdim=True) / target.square().sum(-1, keepdim=True) * target
    other *= (target.norm(dim=-1) / other.norm(dim=-1) / 10 ** (12 / 20)).unsqueeze(-1)
    expected = torch.full((2,), 12.0, dtype=torch.float64)
    torch.testing.assert_close(si_sdr_db(target, target + other), expected, atol=1e-9, rtol=0)
    torch.testing.assert_close(si_sdr_db(target, -0.3 * (target + other) + 0.7), expected, atol=1e-9, rtol=0)


def test_si_sdr_of_silence_is_defined() -> None:
    sound, silent = noise(4000), torch.zeros(4000)
    assert si_sdr_db(sound, sound) > 80
    assert si_sdr_db(sound, silent) == -100
    assert si_sdr_db(silent, sound) == -100
    assert si_sdr_db(silent, silent) == 100
    assert si_sdr_db(torch.full((4000,), 0.5), torch.full((4000,), -0.25)) == 100, "an offset alone is silence"


@pytest.mark.parametrize("distance", [stft_distance, lambda r, e: mel_distance(r, e, 48_000)], ids=["stft", "mel"])
@pytest.mark.parametrize("num_samples", [1, 700, 24_000])
def test_spectral_distances_grow_with_the_error_and_are_finite_for_silence(distance, num_samples: int) -> None:  # type: ignore[no-untyped-def]
    sound = noise(2, num_samples)
    error = noise(2, num_samples, seed=1)
    assert (distance(sound, sound) == 0).all()
    if num_samples > 1:
        near, far = distance(sound, sound + 0.01 * error), distance(sound, sound + error)
        assert (near > 0).all()
        assert (near < far).all()
    silent = torch.zeros_like(sound)
    for pair in ((sound, silent), (silent, sound)):
        assert distance(*pair).shape == (2,)
        assert torch.isfinite(distance(*pair)).all()
        assert (distance(*pair) > 0.1).all()
    assert (distance(silent, silent) == 0).all()


@pytest.mark.parametrize("distance", [stft_distance, si_sdr_db, lambda r, e: mel_distance(r, e, 48_000)])
def test_float64_is_kept_and_agrees_with_float32(distance) -> None:  # type: ignore[no-untyped-def]
    sound, estimate = noise(9000, dtype=torch.float64), noise(9000, seed=1, dtype=torch.float64)
    exact = distance(sound, estimate)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(distance(sound.float(), estimate.float()).double(), exact, rtol=1e-3, atol=1e-4)


def test_a_louder_copy_costs_its_log_and_its_convergence() -> None:
    # twice the amplitude: spectral convergence 1, log distance ln 2, wherever nothing lies at the floor
    sound = noise(48_000, dtype=torch.float64)
    expected = torch.tensor(1.0 + 0.6931471805599453, dtype=torch.float64)
    torch.testing.assert_close(stft_distance(sound, 2 * sound), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(mel_distance(sound, 2 * sound, 48_000), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("distance", [stft_distance, si_sdr_db, lambda r, e: mel_distance(r, e, 48_000)])
def test_bad_input_is_refused(distance) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match="one shape"):
        distance(noise(2, 100), noise(2, 101))
    with pytest.raises(ValueError, match="N >= 1"):
        distance(noise(2, 0), noise(2, 0))
    with pytest.raises(ValueError, match="NaN"):
        distance(noise(100), torch.full((100,), torch.nan))


def test_stft_and_mel_distance_are_those_of_taae_by_an_independent_count() -> None:
    # scipy's frames and librosa's filters as published; window 2048, hops 256 and 512, 128 bands
    sound, estimate = noise(9000, dtype=torch.float64), noise(9000, seed=1, dtype=torch.float64)
    window = scipy.signal.get_window("hann", 2048)
    filters = mel_filters(16_000, 2048, 128).numpy()

    def levels(audio: Tensor, hop: int, mel: bool) -> np.ndarray:
        padded = np.pad(audio.numpy(), 1024)
        frames = np.lib.stride_tricks.sliding_window_view(padded, 2048)[::hop] * window
        magnitudes = np.maximum(np.abs(np.fft.rfft(frames)).T, 1e-4)
        return np.maximum(filters @ magnitudes, 1e-8) if mel else magnitudes

    for mel, distance in ((False, stft_distance(sound, estimate)), (True, mel_distance(sound, estimate, 16_000))):
        expected = []
        for hop in (256, 512):
            a, b = levels(sound, hop, mel), levels(estimate, hop, mel)
            expected.append(np.linalg.norm(a - b) / np.linalg.norm(a) + np.abs(np.log(a) - np.log(b)).mean())
        assert distance.item() == pytest.approx(np.mean(expected), rel=1e-9)


def test_multi_resolution_distances_of_a_louder_copy() -> None:
    sound = noise(2, 48_000, dtype=torch.float64)
    seven = torch.full((2,), 7.0, dtype=torch.float64)  # log10 of ten times the amplitude, at seven resolutions
    torch.testing.assert_close(multi_resolution_mel_distance(sound, 10 * sound, 16_000), seven, rtol=0.05, atol=0)
    assert (multi_resolution_mel_distance(sound, sound, 16_000) == 0).all()
    one = multi_resolution_stft_distance(sound, 2 * sound, [(2048, 256), (2048, 512)])
    torch.testing.assert_close(one, stft_distance(sound, 2 * sound))
