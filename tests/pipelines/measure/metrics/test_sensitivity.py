"""Sensitivity of losses to samples and bins: known answers, and the paper's case for inharmonic windows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.core.objective import frozen
from latentune.layers.stft import stft
from latentune.pipelines.measure.metrics.sensitivity import (
    bin_sensitivity,
    folded,
    loss_gradients,
    periodicity,
    sample_sensitivity,
)
from latentune.pipelines.measure.results.plots import sensitivity_png
from latentune.tokenizers.parts.adversarial import hinge_model_loss
from latentune.tokenizers.taae.discriminator import Discriminator, DiscriminatorConfig

HARMONIC = (64, 128, 256, 512, 1024)
INHARMONIC = (78, 126, 206, 334, 542, 876)
RATE = 16000


def noise(count: int, samples: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(count, 1, samples, generator=torch.Generator().manual_seed(seed))


def power(windows: Sequence[int], audio: Tensor) -> Tensor:
    """Energy of the spectrograms of several windows, hop half of each, every resolution weighted alike."""
    return sum((stft(audio, w, w // 2).abs().square().sum() / w for w in windows), torch.zeros(()))


def test_a_plain_loss_feels_all_samples_alike() -> None:
    weights = torch.tensor([1.0, -2.0, 0.0, 4.0])
    gradients = loss_gradients(lambda audio: (audio * weights).sum(), noise(3, 4))
    torch.testing.assert_close(gradients, weights.expand(3, 1, 4))
    torch.testing.assert_close(sample_sensitivity(gradients), weights.abs())


def test_a_spectrograms_energy_is_felt_as_its_squared_windows_add_up() -> None:
    """d/dx sum |STFT|^2 is x times the overlapped squared windows: 0.75 + 0.25 cos(2 pi n / hop) for Hann."""
    window, count = 64, 600
    gradients = loss_gradients(lambda audio: power((window,), audio), noise(count, 1024))
    profile = folded(sample_sensitivity(gradients), window // 2, margin=window)
    expected = 0.75 + 0.25 * torch.cos(2 * torch.pi * torch.arange(window // 2) / (window // 2))
    torch.testing.assert_close(profile / profile.mean(), expected / expected.mean(), atol=0.03, rtol=0)
    assert periodicity(gradients, window // 2, window) == pytest.approx(0.25 / 0.75 / 2**0.5, abs=0.01)
    assert periodicity(gradients, 27, window) < 0.02


def test_a_loss_of_one_frequency_is_felt_at_its_bin() -> None:
    tone = torch.cos(2 * torch.pi * 1000 * torch.arange(4096) / RATE)
    sensitivity = bin_sensitivity(loss_gradients(lambda audio: (audio * tone).sum(), noise(2, 4096)), 512, 128)
    assert sensitivity.shape == (257, 29)
    assert set(sensitivity.argmax(0).tolist()) == {1000 * 512 // RATE}


def test_harmonic_windows_agree_at_common_multiples_and_inharmonic_ones_do_not() -> None:
    samples = 6144
    signals = noise(48, samples)
    found = {}
    for name, windows in (("harmonic", HARMONIC), ("inharmonic", INHARMONIC)):
        gradients = loss_gradients(lambda audio, windows=windows: power(windows, audio), signals)  # type: ignore[misc]
        margin = max(windows)
        found[name] = max(periodicity(gradients, window // 2, margin) for window in windows)
        if name == "harmonic":
            profile = folded(sample_sensitivity(gradients), max(windows) // 2, margin)
            assert profile[:4].mean() > 1.2 * profile.mean()  # where frames of all sizes begin together
    # the harmonic set's variation repeats as a whole, the inharmonic one's by one window at a time
    assert found["harmonic"] > 1.5 * found["inharmonic"]


@pytest.mark.slow
def test_fresh_discriminators_show_it_too() -> None:
    found = {}
    for name, windows in (("harmonic", HARMONIC), ("inharmonic", INHARMONIC)):
        gradients = []
        for seed in range(16):
            torch.manual_seed(seed)
            critic = Discriminator(DiscriminatorConfig(filters=2, window_samples=windows), 1)
            with frozen(critic):
                made = loss_gradients(lambda x, critic=critic: hinge_model_loss(critic(x)), noise(3, 6144, seed))  # type: ignore[misc]
            gradients.append(made / made.abs().mean())
        found[name] = max(periodicity(torch.cat(gradients), window // 2, max(windows)) for window in windows)
    assert found["harmonic"] > 1.25 * found["inharmonic"]


def test_the_callers_tensors_are_left_alone() -> None:
    signals = noise(2, 64)
    with torch.no_grad():
        loss_gradients(lambda audio: audio.square().sum(), signals)
    assert not signals.requires_grad
    assert signals.grad is None


def test_a_picture_is_drawn(tmp_path: Path) -> None:
    gradients = loss_gradients(lambda audio: power((64,), audio), noise(2, 2048))
    pair = sample_sensitivity(gradients), bin_sensitivity(gradients)
    sensitivity_png(tmp_path / "s.png", {"one": pair, "other": pair}, RATE, 512, 128)
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="no loss to draw"):
        sensitivity_png(tmp_path / "s.png", {}, RATE, 512, 128)


def test_bad_input() -> None:
    signals = noise(2, 64)
    with pytest.raises(ValueError, match=r"signals must be \[K, C, N\]"):
        loss_gradients(lambda audio: audio.sum(), signals[0])
    with pytest.raises(ValueError, match="a scalar that depends on its input"):
        loss_gradients(lambda audio: audio, signals)
    with pytest.raises(ValueError, match="a scalar that depends on its input"):
        loss_gradients(lambda audio: torch.zeros(()), signals)
    with pytest.raises(ValueError, match="shorter than the window of 512"):
        bin_sensitivity(signals)
    with pytest.raises(ValueError, match="hold no period of 40"):
        folded(torch.ones(64), 40, margin=10)
    with pytest.raises(ValueError, match="at least two"):
        periodicity(signals[:1], 8)
