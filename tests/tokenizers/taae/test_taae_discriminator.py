"""The discriminator against the official one's numbers, and the losses between it and the codec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from latentune.core.objective import frozen
from latentune.tokenizers.parts.adversarial import (
    CriticOutput,
    feature_matching,
    hinge_critic_loss,
    hinge_model_loss,
    split_output,
)
from latentune.tokenizers.taae.discriminator import Discriminator, DiscriminatorConfig

REFERENCE = Path(__file__).resolve().parents[2] / "assets" / "taae_losses_reference.safetensors"
OFFICIAL_NAMES = {
    "3.convs.": "networks.0.layers.",
    "3.conv_post.": "networks.0.last.",
    "conv.bias": "bias",
    "conv.weight_g": "parametrizations.weight.original0",
    "conv.weight_v": "parametrizations.weight.original1",
}


def small(**changes: object) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig(**{"filters": 4, "window_samples": (78, 126), **changes}), 1)  # type: ignore[arg-type]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_logits_are_the_official_ones() -> None:
    tensors = load_file(REFERENCE)
    weights = {}
    for name, value in tensors.items():
        if name.startswith("official/"):
            for theirs, ours in OFFICIAL_NAMES.items():
                name = name.replace(theirs, ours)
            weights[name.removeprefix("official/")] = value
    discriminator = Discriminator(DiscriminatorConfig(filters=8, window_samples=(334,)), 1)
    discriminator.load_state_dict(weights)
    logits, wanted = discriminator(tensors["real"])[0].logits, tensors["logits"]
    error = (logits[:, :, : wanted.shape[2]] - wanted).abs().max() / wanted.abs().max()
    assert error < 2e-6


def test_the_papers_size_has_the_official_parameters() -> None:
    with torch.device("meta"):
        discriminator = Discriminator(DiscriminatorConfig(), 1)
    assert sum(parameter.numel() for parameter in discriminator.parameters()) == 47_335_440


@pytest.mark.parametrize(("stride", "bins"), [(1, [64, 64, 64, 64, 64]), (2, [64, 32, 16, 8, 8])])
def test_features_keep_their_frames_and_lose_bins_to_the_stride(stride: int, bins: list[int]) -> None:
    output = small(window_samples=(126,), frequency_stride=stride)(noise(2, 1, 700))[0]
    frames = (700 - 126) // 63 + 1
    assert [tuple(layer.shape) for layer in output.features] == [(2, 4, frames, count) for count in bins]
    assert output.logits.shape == (2, 1, frames, bins[-1])


def test_items_of_a_batch_do_not_see_each_other() -> None:
    discriminator, audio = small(), noise(3, 1, 700)
    together = discriminator(audio)
    for part in (split_output(together, 1)[0], discriminator(audio[:1])):
        for one, whole in zip(part, together, strict=True):
            torch.testing.assert_close(one.logits, whole.logits[:1])
            torch.testing.assert_close(one.features[-1], whole.features[-1][:1])


def test_stereo_is_taken_as_it_is() -> None:
    discriminator = Discriminator(DiscriminatorConfig(filters=4, window_samples=(78,)), 2)
    audio = noise(1, 2, 700)
    assert not torch.allclose(discriminator(audio)[0].logits, discriminator(audio.flip(1))[0].logits)


def test_silence_has_a_gradient() -> None:
    audio = torch.zeros(1, 1, 700, requires_grad=True)
    hinge_model_loss(small()(audio)).backward()
    assert audio.grad is not None
    assert torch.isfinite(audio.grad).all()


def test_the_spectrum_is_taken_in_float32_under_autocast() -> None:
    discriminator, audio = small(), noise(1, 1, 700)
    exact = discriminator(audio)[0].logits
    with torch.autocast("cpu", torch.bfloat16):
        rough = discriminator(audio)[0].logits
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=2e-2, rtol=0)


def test_frozen_weights_get_no_gradient_and_thaw() -> None:
    discriminator, audio = small(), noise(1, 1, 700).requires_grad_()
    fixed = discriminator.networks[0].last.bias.requires_grad_(False)  # type: ignore[union-attr,operator]
    with frozen(discriminator):
        loss = hinge_model_loss(discriminator(audio))
    loss.backward()
    assert audio.grad is not None
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    assert [p for p in discriminator.parameters() if not p.requires_grad] == [fixed]


def test_weights_thaw_also_after_an_error() -> None:
    discriminator = small()
    with pytest.raises(ValueError, match="takes audio"), frozen(discriminator):
        discriminator(noise(1, 3, 700))
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


# ---------------------------------------------------------------------- losses


def output(logits: list[float], *features: list[float]) -> CriticOutput:
    return CriticOutput(torch.tensor(logits), [torch.tensor(layer) for layer in features])


def test_hinge_losses_by_hand() -> None:
    real, fake = [output([2.0, 0.0]), output([-1.0])], [output([-3.0, 1.0]), output([0.5])]
    # per network: mean(0, 1) + mean(0, 2) = 1.5, and 2 + 1.5 = 3.5
    assert float(hinge_critic_loss(real, fake)) == pytest.approx(2.5)
    assert float(hinge_model_loss(fake)) == pytest.approx(-(-1.0 + 0.5) / 2)


def test_feature_matching_by_hand() -> None:
    real = [output([0.0], [1.0, -3.0], [10.0, 10.0])]
    fake = [output([0.0], [2.0, -3.0], [10.0, 14.0])]
    # per layer: 0.5 / 2 and 2 / 10
    assert float(feature_matching(real, fake)) == pytest.approx((0.25 + 0.2) / 2)
    assert float(feature_matching(real, fake, eps=0.5)) == pytest.approx((0.5 / 2.5 + 2 / 10.5) / 2)
    assert float(feature_matching(real, fake, normalise=False)) == pytest.approx((0.5 + 2) / 2)
    assert float(feature_matching(real, real)) == 0


def test_normalised_feature_matching_does_not_feel_a_layers_scale() -> None:
    real, fake = ([output([0.0], [1.0, -3.0], layer)] for layer in ([5.0, 7.0], [6.0, 6.0]))
    louder = [[output([0.0], [1.0, -3.0], [100 * v for v in layer])] for layer in ([5.0, 7.0], [6.0, 6.0])]
    assert float(feature_matching(*louder)) == pytest.approx(float(feature_matching(real, fake)))


def test_real_features_are_a_fixed_target() -> None:
    discriminator = small()
    real, fake = (noise(1, 1, 700, seed=seed).requires_grad_() for seed in (0, 1))
    feature_matching(discriminator(real), discriminator(fake)).backward()
    assert real.grad is None
    assert fake.grad is not None


# ---------------------------------------------------------------------- mistakes


@pytest.mark.parametrize("shape", [(1, 2, 700), (1, 700), (1, 1, 125)])
def test_other_audio_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes audio \[B, 1, N\] with N >= 126"):
        small()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window_samples": (77,)}, "must be even"),
        ({"window_samples": ()}, "too small"),
        ({"filters": 0}, "too small"),
        ({"frequency_stride": 0}, "must be at least 1"),
        ({"magnitude_eps": 0.0}, "magnitude_eps"),
    ],
)
def test_a_wrong_config_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)
