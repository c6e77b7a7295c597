"""The spectral distances: zero where they must be, in their units, finite on silence."""

from __future__ import annotations

import torch

from latentune.tokenizers.parts.spectral_losses import correlation_penalty, level_term, spectral_terms


def test_an_equal_estimate_has_no_distance(generator: torch.Generator) -> None:
    audio = 0.1 * torch.randn(4, 1600, generator=generator)
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
