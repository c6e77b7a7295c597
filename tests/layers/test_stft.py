"""STFT and power law: exact inverses, agreement with torch's own."""

from __future__ import annotations

import pytest
import torch

from latentune.layers.audio import to_channels, to_rate
from latentune.layers.stft import inverse_power_law, istft, power_law, stft


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_inverse_is_exact_where_the_frames_are_complete() -> None:
    audio = noise(2, 3, 4096)
    # the Nyquist bin is dropped: take it out of the signal first
    audio = torch.fft.irfft(torch.fft.rfft(audio)[..., :1800], n=4096)
    back = istft(stft(audio, 256, 128), 256, 128)
    torch.testing.assert_close(back[..., 128:-128], audio[..., 128:-128], atol=2e-3, rtol=0)


def test_it_is_the_transform_of_torch() -> None:
    audio = noise(2, 2048)
    theirs = torch.stft(audio, 256, 128, window=torch.hann_window(256), center=False, return_complex=True)
    torch.testing.assert_close(stft(audio, 256, 128), theirs[:, :-1], atol=1e-4, rtol=1e-4)


def test_pieces_overlap_and_add_to_the_whole() -> None:
    spectrum = stft(noise(1, 128 * 33), 256, 128)
    whole = istft(spectrum, 256, 128)
    left, right = istft(spectrum[..., :16], 256, 128), istft(spectrum[..., 16:], 256, 128)
    glued = torch.nn.functional.pad(left, (0, whole.shape[-1] - left.shape[-1]))
    glued = glued + torch.nn.functional.pad(right, (whole.shape[-1] - right.shape[-1], 0))
    torch.testing.assert_close(glued, whole, atol=1e-5, rtol=1e-5)


def test_the_power_law_has_an_inverse() -> None:
    x = noise(1000) * 10
    torch.testing.assert_close(inverse_power_law(power_law(x, 0.65, 0.34), 0.65, 0.34), x, atol=1e-4, rtol=1e-4)
    assert float(power_law(torch.tensor(-1.0), 0.65, 0.34)) == pytest.approx(-0.34)


@pytest.mark.parametrize(
    ("source", "target", "length"), [(48000, 44100, 1000), (8000, 48000, 1), (44100, 16000, 12345)]
)
def test_resampled_length_is_a_function_of_the_rates(source: int, target: int, length: int) -> None:
    assert to_rate(noise(2, length), source, target).shape == (2, max(1, round(length * target / source)))


def test_a_tone_survives_resampling() -> None:
    time = torch.arange(44100) / 44100
    out = to_rate(torch.sin(2 * torch.pi * 440 * time)[None], 44100, 48000)[0]
    expected = torch.sin(2 * torch.pi * 440 * torch.arange(48000) / 48000)
    assert (out - expected)[1000:-1000].abs().max() < 1e-3


def test_channels() -> None:
    assert to_channels(noise(1, 1, 5), 2).shape == (1, 2, 5)
    assert to_channels(noise(1, 6, 5), 1).shape == (1, 1, 5)
    with pytest.raises(ValueError, match="6 channels"):
        to_channels(noise(1, 6, 5), 2)
    with pytest.raises(ValueError, match="positive"):
        to_rate(noise(1, 5), 0, 8000)
