"""Two resamplers of one length, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from latentune.core.errors import MissingPackageError
from latentune.layers.audio import RESAMPLERS, to_rate


@pytest.mark.parametrize("resampler", RESAMPLERS)
@pytest.mark.parametrize(("from_rate", "to"), [(44_100, 16_000), (16_000, 24_000), (48_000, 44_100)])
def test_a_tone_stays_what_it_is(resampler: str, from_rate: int, to: int) -> None:
    if resampler == "torchaudio":
        pytest.importorskip("torchaudio", exc_type=ImportError)

    def tone(rate: int, num_samples: int) -> torch.Tensor:
        return torch.sin(2 * math.pi * 440 * torch.arange(num_samples, dtype=torch.float64) / rate).float()

    audio = tone(from_rate, 4801).expand(2, 1, -1)
    made = to_rate(audio, from_rate, to, resampler)  # type: ignore[arg-type]
    assert made.shape == (2, 1, round(4801 * to / from_rate))
    inner = slice(200, -200)
    torch.testing.assert_close(made[0, 0, inner], tone(to, made.shape[-1])[inner], atol=2e-3, rtol=0)
    assert to_rate(audio, to, to, resampler) is audio  # type: ignore[arg-type]


def test_torchaudio_is_that_of_the_package() -> None:
    functional = pytest.importorskip("torchaudio.functional", exc_type=ImportError)
    audio = torch.randn(2, 4801, generator=torch.Generator().manual_seed(0))
    theirs = functional.resample(audio, 44_100, 16_000)
    ours = to_rate(audio, 44_100, 16_000, "torchaudio")
    assert torch.equal(ours, theirs[:, : ours.shape[-1]])
    assert not torch.allclose(ours, to_rate(audio, 44_100, 16_000), atol=1e-2)


def test_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no resampler 'sox': did you mean 'soxr'"):
        to_rate(torch.zeros(1, 8), 2, 1, "sox")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="sample rates must be positive"):
        to_rate(torch.zeros(1, 8), 0, 1)
    monkeypatch.setattr("latentune.core.extras.is_installed", lambda package: False)
    with pytest.raises(
        MissingPackageError, match=r"the resampler torchaudio needs torchaudio: pip install 'torchaudio>="
    ):
        to_rate(torch.zeros(1, 8), 2, 1, "torchaudio")
