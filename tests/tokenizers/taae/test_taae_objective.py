"""The training objective of TAAE: its terms and weights, its draws, and that it trains both networks and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from latentune.core.objective import AudioBatch
from latentune.layers.loudness import measure_loudness
from latentune.tokenizers.parts.spectral_losses import SpectralLossConfig
from latentune.tokenizers.taae import TAAE, TAAEConfig
from latentune.tokenizers.taae.discriminator import DiscriminatorConfig
from latentune.tokenizers.taae.hybrid import HybridConfig
from latentune.tokenizers.taae.objective import TAAEObjective, TAAEObjectiveConfig
from latentune.tokenizers.taae.patching import audio_to_patches

RATE = 16000
SMALL = {
    "crop_s": 0.1,
    "stft_window_samples": 256,
    "stft_hop_samples": 64,
    "critic": DiscriminatorConfig(filters=4, window_samples=(78, 206)),
}


def make(**options: Any) -> tuple[TAAE, TAAEObjective, AudioBatch]:
    torch.manual_seed(0)
    codec = TAAE(TAAEConfig.tiny())
    objective = TAAEObjective(TAAEObjectiveConfig(**{**SMALL, **options}), codec.settings)
    time = torch.arange(objective.num_samples) / RATE
    audio = 0.1 * torch.stack([torch.sin(2 * torch.pi * f * time) for f in (300.0, 1200.0)])
    return codec, objective, AudioBatch(audio=audio[:, None], ids=["a", "b"])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_example_is_whole_frames_of_512_s() -> None:
    objective = TAAEObjective(TAAEObjectiveConfig(critic=DiscriminatorConfig(filters=1)), TAAEConfig())
    assert objective.num_samples == 81920 == 128 * 640
    assert make(crop_s=0.0501, stft_window_samples=128)[1].num_samples == 840  # 802 samples in hops of 40


@pytest.mark.parametrize(("decay", "step", "fading"), [(1.0, 7, 1.0), (0.5, 0, 1.0), (0.5, 3, 0.125)])
def test_the_loss_is_the_weighted_sum_of_its_terms(decay: float, step: int, fading: float) -> None:
    codec, objective, batch = make(
        decay=decay, feature_matching_weight=2.0, adversarial_weight=0.5, waveform_weight=3.0, stft_weight=0.25
    )
    loss, terms, _ = objective.model_loss(codec, batch, step=step, generator=seeded(0))
    expected = 2 * terms["feature_matching"] + 0.5 * terms["adversarial"]
    expected = expected + fading * (3 * terms["waveform"] + 0.25 * terms["stft"])
    torch.testing.assert_close(loss, expected)


def test_by_default_the_codec_is_not_pushed_by_the_critics_verdict() -> None:
    codec, objective, batch = make(waveform_weight=0.0, stft_weight=0.0)
    loss, terms, _ = objective.model_loss(codec, batch, step=0, generator=seeded(0))
    torch.testing.assert_close(loss, terms["feature_matching"])


def test_calling_it_gives_the_models_loss() -> None:
    codec, objective, batch = make()
    loss, metrics = objective(codec, batch, step=5, generator=seeded(0))
    again, same, pair = objective.model_loss(codec, batch, step=5, generator=seeded(0))
    assert torch.equal(loss, again)
    assert all(torch.equal(metrics[name], same[name]) for name in metrics)
    assert {"latent_std", "latent_saturation"} <= metrics.keys()
    assert not any(value.requires_grad for value in (*metrics.values(), pair.real, pair.fake))
    assert not torch.equal(loss, objective(codec, batch, step=5, generator=seeded(1))[0])


def test_the_models_loss_trains_all_of_the_codec_and_none_of_the_critic() -> None:
    codec, objective, batch = make()
    objective.model_loss(codec, batch, step=0, generator=seeded(0))[0].backward()
    assert [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert all(parameter.grad is None for parameter in objective.critic.parameters())


def test_the_critics_loss_trains_all_of_the_critic_and_none_of_the_codec() -> None:
    codec, objective, batch = make()
    pair = objective.model_loss(codec, batch, step=0, generator=seeded(0))[2]
    loss, metrics = objective.critic_loss(objective.critic, pair)
    loss.backward()
    # a bias can move real and fake logits alike, and the hinge's two slopes then cancel, exactly or up to rounding
    without = [n for n, p in objective.critic.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in without if not name.endswith("bias")] == []
    assert all(parameter.grad is not None for parameter in objective.critic.parameters())
    assert all(parameter.grad is None for parameter in codec.parameters())
    assert set(metrics) == {"critic_real", "critic_fake"}


def test_both_learn_from_each_other() -> None:
    codec, objective, batch = make(loudness_range_db=0.0, flip_probability=0.0)
    optimizers = [torch.optim.AdamW(m.parameters(), lr=3e-3, betas=(0.8, 0.99)) for m in (codec, objective.critic)]
    losses, told_apart = [], []
    for step in range(40):
        loss, metrics, pair = objective.model_loss(codec, batch, step=step, generator=seeded(step))
        loss.backward()
        losses.append(metrics["stft"].item() + metrics["waveform"].item())
        critic_loss, verdict = objective.critic_loss(objective.critic, pair)
        critic_loss.backward()
        told_apart.append((verdict["critic_real"] - verdict["critic_fake"]).item())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert sum(losses[-5:]) < 0.75 * sum(losses[:5])
    assert max(told_apart) > told_apart[0] + 0.1


def test_each_step_draws_its_levels_and_each_item_its_mode() -> None:
    codec, objective, batch = make(hybrid=HybridConfig(level_choices=(5, 17)))
    seen: list[tuple[Tensor, Tensor, Tensor]] = []

    class Spy(nn.Module):
        def forward(self, audio: Tensor, mode: Tensor, noise: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
            seen.append((mode, noise, levels))
            return codec(audio, mode, noise, levels)

    with torch.no_grad():
        for seed in range(24):
            objective(Spy(), batch, step=0, generator=seeded(seed))
    assert {tuple(levels.tolist()) for _, _, levels in seen} == {(5,) * 6, (17,) * 6}
    assert {mode for modes, _, _ in seen for mode in modes.tolist()} == {0, 1}
    assert {tuple(noise.shape) for _, noise, _ in seen} == {(2, 40, 6)}


# ---------------------------------------------------------------------- without a critic

NO_CRITIC: dict[str, Any] = {
    "feature_matching_weight": 0.0,
    "spectral_weight": 2.0,
    "correlation_weight": 0.1,
    "spectral": SpectralLossConfig(windows_samples=(64, 256), num_mels=(8, 20), level_window_samples=256, level_mels=8),
}


def test_without_adversarial_weights_there_is_no_critic() -> None:
    codec, objective, batch = make(waveform_weight=0.0, stft_weight=0.0, **NO_CRITIC)
    assert objective.critic is None
    loss, terms, _ = objective.model_loss(codec, batch, step=9, generator=seeded(0))
    torch.testing.assert_close(loss, 2 * terms["spectral"] + 0.1 * terms["correlation"])
    loss.backward()
    assert [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert make(feature_matching_weight=0.0, adversarial_weight=0.1)[1].critic is not None


def test_a_warm_start_gives_whitened_values() -> None:
    codec, objective, _ = make(warm_start_examples=8, **NO_CRITIC)
    audio = 0.1 * torch.randn(8, 1, objective.num_samples, generator=seeded(0))
    objective.warm_start(codec, iter([AudioBatch(audio=audio, ids=["a"] * 8)]))
    with torch.no_grad():
        z = codec.encoder(audio_to_patches(audio, 20)).flatten(0, 1)
    torch.testing.assert_close(z.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.std(0), torch.full((6,), 0.8), rtol=0.02, atol=0)
    assert (torch.corrcoef(z.T) - torch.eye(6)).abs().max() < 0.02


# ---------------------------------------------------------------------- augmentation


def test_loudness_is_spread_around_its_target_and_polarity_flipped() -> None:
    _, objective, _ = make(crop_s=0.6)
    time = torch.arange(objective.num_samples) / RATE
    audio = 0.02 * torch.sin(2 * torch.pi * 500 * time).expand(40, 1, -1)
    augmented = objective.augment(audio, seeded(0))
    loudness = torch.tensor([measure_loudness(item, RATE) for item in augmented])
    assert -25.05 < loudness.min() < -23.5
    assert -16.5 < loudness.max() < -14.95
    flipped = (augmented * audio).sum((1, 2)) < 0
    assert 8 < int(flipped.sum()) < 32
    assert torch.equal(augmented, objective.augment(audio, seeded(0)))


def test_what_is_switched_off_changes_nothing() -> None:
    _, objective, batch = make(loudness_lufs=None, flip_probability=0.0)
    assert torch.equal(objective.augment(batch.audio, seeded(0)), batch.audio)
    _, flipping, _ = make(loudness_lufs=None, flip_probability=1.0)
    assert torch.equal(flipping.augment(batch.audio, seeded(0)), -batch.audio)


def test_silence_stays_silence_and_a_peak_within_one() -> None:
    _, objective, batch = make(flip_probability=0.0)
    hiss = 1e-4 * torch.randn(batch.audio.shape, generator=seeded(0))
    assert torch.equal(objective.augment(hiss, seeded(0)), hiss)
    click = torch.zeros_like(batch.audio)
    click[..., 700:704] = 0.3
    assert float(objective.augment(click, seeded(0)).abs().amax()) <= 1.0
    loss, _, _ = objective.model_loss(
        make()[0], AudioBatch(audio=torch.zeros_like(hiss), ids=["a", "b"]), step=0, generator=seeded(0)
    )
    assert torch.isfinite(loss)


# ---------------------------------------------------------------------- second stage


@pytest.fixture(scope="module")
def tiny_wavlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    conv = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    folder = tmp_path_factory.mktemp("wavlm")
    transformers.WavLMModel(transformers.WavLMConfig(**sizes, **conv)).save_pretrained(folder)
    return folder


def test_the_second_stage_matches_features_alone(tiny_wavlm: Path) -> None:
    from latentune.tokenizers.taae.perceptual import PerceptualConfig

    options = {"stage": 2, "perceptual": PerceptualConfig(path=str(tiny_wavlm)), "perceptual_weight": 3.0}
    codec, objective, batch = make(**options)
    loss, terms, _ = objective.model_loss(codec, batch, step=0, generator=seeded(0))
    torch.testing.assert_close(loss, terms["feature_matching"] + 3 * terms["perceptual"])
    loss.backward()
    assert all(parameter.grad is not None for parameter in codec.parameters())
    assert objective.perceptual is not None
    assert all(parameter.grad is None for parameter in objective.perceptual.parameters())
    assert not any("wavlm" in name for name in (*codec.state_dict(), *objective.critic.state_dict()))
    assert objective.to("cpu") is objective


# ---------------------------------------------------------------------- mistakes


def test_other_audio_is_refused() -> None:
    codec, objective, batch = make()
    for audio in (batch.audio[..., :-1], batch.audio.expand(-1, 2, -1)):
        with pytest.raises(ValueError, match=r"takes audio \[B, 1, 1600\]"):
            objective(codec, AudioBatch(audio=audio, ids=batch.ids), step=0, generator=seeded(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_s": 0.0}, "crop_s 0.0 must be above 0"),
        ({"crop_s": 0.01}, "is 160 samples, shorter than a window of 256"),
        ({"flip_probability": 1.5}, "flip_probability 1.5"),
        ({"decay": 0.0}, "decay 0.0"),
        ({"stft_weight": -1.0}, "stft_weight must not be below 0"),
        ({"feature_matching_weight": 0.0, "waveform_weight": 0.0, "stft_weight": 0.0}, "nothing to train on"),
    ],
)
def test_a_wrong_config_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_the_second_stage_wants_wavlms_sample_rate() -> None:
    import dataclasses

    codec = dataclasses.replace(TAAEConfig.tiny(), sample_rate=24000)
    with pytest.raises(ValueError, match="the codec has 24000"):
        TAAEObjective(TAAEObjectiveConfig(**{**SMALL, "stage": 2}), codec)  # type: ignore[arg-type]
