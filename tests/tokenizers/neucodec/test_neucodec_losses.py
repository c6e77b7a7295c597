"""The mel loss against its definition, and the discriminators: shapes, what they see, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.neucodec.discriminators import Critic, CriticConfig, PeriodNetwork, SpectrumNetwork
from latentune.tokenizers.neucodec.mel_loss import FLOOR, log_mel, mel_loss
from latentune.tokenizers.parts.adversarial import CriticOutput, squared_critic_loss, squared_model_loss

RATE = 24000
SMALL = CriticConfig(
    periods=(2, 3), period_filters=2, period_max_filters=8, window_samples=(78, 126), spectrum_filters=3
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------------------------------------- mel loss


@pytest.mark.parametrize(("window", "bands"), [(32, 5), (2048, 320)])
def test_log_mels_are_torchaudios(window: int, bands: int) -> None:
    transforms = pytest.importorskip("torchaudio.transforms", exc_type=ImportError)
    audio = noise(2, 1, 4800)
    theirs = transforms.MelSpectrogram(
        RATE, window, hop_length=window // 4, n_mels=bands, power=1.0, norm="slaney", mel_scale="slaney"
    )(audio)
    torch.testing.assert_close(log_mel(audio, RATE, window, bands), theirs.clamp_min(FLOOR).log10(), atol=1e-4, rtol=0)


def test_a_gain_of_ten_is_a_distance_of_one_at_each_resolution() -> None:
    audio = noise(2, 1, 4800)
    windows, bands = (64, 256, 1024), (10, 40, 160)
    assert float(mel_loss(audio, audio, RATE, windows, bands)) == 0
    assert float(mel_loss(10 * audio, audio, RATE, windows, bands)) == pytest.approx(3, abs=1e-3)
    assert float(mel_loss(-audio, audio, RATE, windows, bands)) == pytest.approx(0, abs=1e-5)


def test_what_lies_below_the_floor_is_as_good_as_silence() -> None:
    silent = torch.zeros(1, 1, 4800, requires_grad=True)
    assert float(mel_loss(silent.detach() + 1e-9, silent.detach(), RATE, (256,), (40,))) == 0
    mel_loss(silent, noise(1, 1, 4800), RATE, (256,), (40,)).backward()
    assert silent.grad is not None
    assert torch.isfinite(silent.grad).all()


def test_audio_that_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match=r"takes audio \[B, C, N\] twice, got \(1, 1, 480\) and \(1, 1, 960\)"):
        mel_loss(noise(1, 1, 480), noise(1, 1, 960), RATE, (64,), (10,))
    with pytest.raises(ValueError, match="of 480 samples is too short for a window of 960"):
        mel_loss(noise(1, 1, 480), noise(1, 1, 480), RATE, (64, 960), (10, 40))


# ---------------------------------------------------------------------- discriminators


def test_each_network_gives_logits_and_every_layers_features() -> None:
    torch.manual_seed(0)
    outputs = Critic(SMALL)(noise(2, 1, 1001))  # no multiple of a period
    assert len(outputs) == 4
    assert [tuple(one.logits.shape[:2]) for one in outputs] == [(2, 1)] * 4
    assert [[f.shape[1] for f in one.features] for one in outputs] == [[2, 8, 8, 8, 8]] * 2 + [[3] * 5] * 2
    assert outputs[1].features[0].shape[2:] == (112, 3)  # 334 rows of 3, at stride 3
    assert outputs[2].features[0].shape[2:] == (26, 40)  # frames and bins of window 78
    assert outputs[2].features[3].shape[2:] == (26, 5)


def test_the_default_sizes_are_the_published_ones() -> None:
    with torch.device("meta"):
        critic = Critic(CriticConfig())
    assert len(critic.networks) == 13
    widths = [layer.weight.shape[0] for layer in critic.networks[0].layers]
    assert widths == [16, 64, 256, 512, 512]


@torch.no_grad()
def test_a_period_network_sees_each_phase_on_its_own() -> None:
    torch.manual_seed(0)
    network = PeriodNetwork(SMALL, 3)
    audio = noise(1, 1, 900)
    changed = audio.clone()
    changed[..., 1::3] += 0.1
    difference = (network(changed).logits - network(audio).logits).abs().amax((0, 1, 2))
    assert difference[1] > 1e-6
    assert not difference[[0, 2]].any()


@torch.no_grad()
def test_a_spectrum_network_does_not_hear_polarity() -> None:
    torch.manual_seed(0)
    network = SpectrumNetwork(SMALL, 126)
    audio = noise(1, 1, 900)
    torch.testing.assert_close(network(-audio).logits, network(audio).logits, atol=1e-6, rtol=0)


def test_least_squares_by_hand() -> None:
    def told(*logits: float) -> list[CriticOutput]:
        return [CriticOutput(torch.tensor([value]), []) for value in logits]

    assert float(squared_critic_loss(told(1.0, 0.5), told(0.0, 2.0))) == pytest.approx((0 + 0.25 + 4) / 2)
    assert float(squared_model_loss(told(0.0, 2.0, 1.0))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("shape", [(1, 1, 125), (1, 2, 900), (1, 900)])
def test_audio_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"take audio \[B, 1, N\] with N >= 126"):
        Critic(SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"periods": (), "window_samples": ()}, "both empty"),
        ({"window_samples": (77,)}, "must be even"),
        ({"periods": (0,)}, "must be at least 1"),
        ({"spectrum_filters": 0}, "must be at least 1"),
    ],
)
def test_sizes_that_cannot_be_built_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CriticConfig(**values)
