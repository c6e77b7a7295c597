"""The distances of spectra: zero where they must be, of the size that they mean, and weighted as the config says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentune.tokenizers.parts.spectral_losses import (
    SpectralLossConfig,
    correlation_penalty,
    level_term,
    spectral_loss,
    spectral_loss_terms,
    spectral_terms,
)

SMALL: dict[str, Any] = {
    "windows_samples": (64, 256),
    "num_mels": (8, 20),
    "level_window_samples": 256,
    "level_mels": 8,
}


def test_an_equal_estimate_has_no_distance(generator: torch.Generator) -> None:
    audio = torch.randn(2, 1600, generator=generator)
    assert [float(term) for term in spectral_terms(audio, audio, 8000, 256, 20)] == [0, 0, 0]
    assert float(level_term(audio, audio, 8000, 256, 8, 4)) == 0


def test_a_factor_of_ten_is_a_distance_of_one(generator: torch.Generator) -> None:
    audio = torch.randn(2, 4000, generator=generator)
    mel, log, relative = spectral_terms(0.1 * audio, audio, 8000, 256, 20)
    torch.testing.assert_close(torch.stack([mel, log]), torch.ones(2))
    torch.testing.assert_close(relative, torch.tensor(0.9))
    torch.testing.assert_close(level_term(0.1 * audio, audio, 8000, 256, 8, 4), torch.tensor(1.0))


def test_silence_is_no_division_by_zero() -> None:
    silence = torch.zeros(1, 2000, requires_grad=True)
    terms = (
        *spectral_terms(silence, torch.zeros(1, 2000), 8000, 256, 20),
        level_term(silence, silence, 8000, 256, 8, 4),
    )
    sum(terms).backward()  # type: ignore[union-attr]
    assert silence.grad is not None
    assert torch.isfinite(silence.grad).all()


def test_the_level_term_is_blind_to_phases(generator: torch.Generator) -> None:
    """Two draws of the same noise process: their magnitudes differ, their levels hardly."""
    first, second = torch.randn(2, 8000, generator=generator)[:, None].unbind(0)
    distance = float(spectral_terms(first, second, 8000, 256, 20)[1])
    assert float(level_term(first, second, 8000, 256, 8, 16)) < 0.25 * distance


def test_independent_digits_cost_nothing_and_equal_ones_all(generator: torch.Generator) -> None:
    independent = torch.randn(4, 5000, 6, generator=generator)
    assert float(correlation_penalty(independent)) < 0.01
    equal = torch.randn(4, 100, 1, generator=generator).expand(-1, -1, 6)
    torch.testing.assert_close(correlation_penalty(equal), torch.tensor(5.0), rtol=1e-3, atol=0)


def test_the_loss_is_the_weighted_sum_of_means_over_windows(generator: torch.Generator) -> None:
    config = SpectralLossConfig(**SMALL, mel_weight=2.0, log_weight=3.0, relative_weight=5.0, level_weight=7.0)
    made, real = torch.randn(2, 2, 2000, generator=generator)
    windows = [spectral_terms(made, real, 8000, window, mels) for window, mels in ((64, 8), (256, 20))]
    mel, log, relative = (sum(pair) / 2 for pair in zip(*windows, strict=True))
    level = level_term(made, real, 8000, 256, 8, 8)
    expected = 2 * mel + 3 * log + 5 * relative + 7 * level
    torch.testing.assert_close(spectral_loss(config, made, real, 8000), expected)
    assert "level" not in spectral_loss_terms(SpectralLossConfig(**SMALL, level_weight=0.0), made, real, 8000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_mels": (8,)}, "differ in length"),
        ({"windows_samples": (66, 256)}, "multiples of 4"),
        ({"level_window_samples": 255}, "multiples of 4"),
        ({"level_pool_frames": 0}, "level_pool_frames must be at least 1"),
        ({"mel_weight": -1.0}, "mel_weight must not be below 0"),
        ({"mel_weight": 0.0, "log_weight": 0.0, "relative_weight": 0.0, "level_weight": 0.0}, "nothing to train on"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpectralLossConfig(**{**SMALL, **changes})
