"""Two resamplers of one length, and what is refused."""

from __future__ import annotations

import math

import pytest
import torch

from latentune.core.errors import MissingPackageError
from latentune.layers import audio as audio_module
from latentune.layers.audio import RESAMPLERS, check_audio, span, to_rate


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


@pytest.mark.parametrize(("from_rate", "to"), [(44_100, 16_000), (16_000, 24_000), (8_000, 48_000)])
@pytest.mark.parametrize("block_samples", [2, 1000, 4801])
def test_blocks_do_not_change_what_soxr_gives(
    from_rate: int, to: int, block_samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = torch.randn(2, 4801, generator=torch.Generator().manual_seed(0))
    whole = to_rate(audio, from_rate, to)
    monkeypatch.setattr(audio_module, "BLOCK_SAMPLES", block_samples)
    assert torch.equal(to_rate(audio, from_rate, to), whole)
    assert torch.equal(to_rate(audio[1], from_rate, to), whole[1])


@pytest.mark.parametrize("start", [-7, -3, 0, 2, 5, 9])
@pytest.mark.parametrize("size", [0, 1, 4, 20])
def test_a_span_is_a_part_of_endless_silence_with_the_audio_in_it(start: int, size: int) -> None:
    audio = torch.arange(1.0, 6.0).expand(2, 5)
    endless = torch.nn.functional.pad(audio, (10, 40))
    assert torch.equal(span(audio, start, start + size), endless[:, start + 10 : start + 10 + size])
    assert span(audio, 1, 4).data_ptr() == audio[:, 1:].data_ptr()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_audio_that_is_not_finite_is_refused(bad: float, dtype: torch.dtype) -> None:
    audio = torch.zeros(2, 1, 100, dtype=dtype)
    check_audio(audio)
    audio[1, 0, 50] = bad
    with pytest.raises(ValueError, match="NaN or inf"):
        check_audio(audio)


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
