"""NeuCodec trained without a critic: which terms there are, where the weights start, and a run of the one loop."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from latentune.core.objective import AudioBatch
from latentune.core.settings import load_settings
from latentune.layers.audio import to_rate
from latentune.layers.stft import mean_log_magnitudes
from latentune.pipelines.train import train, train_config
from latentune.tokenizers.neucodec import DistillNeuCodec, NeuCodec
from latentune.tokenizers.neucodec.objective import NeuCodecObjective
from latentune.tokenizers.neucodec.objective_config import NeuCodecObjectiveConfig
from latentune.tokenizers.parts.residual import ResidualConfig
from latentune.tokenizers.parts.spectral_losses import SpectralLossConfig

RATE = 24000
NO_CRITIC: dict[str, Any] = {
    "crop_s": 0.1,
    "mel_weight": 0.0,
    "adversarial_weight": 0.0,
    "feature_matching_weight": 0.0,
    "spectral_weight": 1.0,
    "spectral": SpectralLossConfig(
        windows_samples=(64, 256), num_mels=(8, 20), level_window_samples=256, level_mels=8, level_pool_frames=2
    ),
}


def codec(cls: type[NeuCodec] = NeuCodec, **changes: Any) -> NeuCodec:
    torch.manual_seed(0)
    return cls(replace(cls.config_class.tiny(), **changes))


def make(model: NeuCodec, **options: Any) -> NeuCodecObjective:
    objective = NeuCodecObjective(NeuCodecObjectiveConfig(**{**NO_CRITIC, **options}), model.settings)
    objective.prepare(model)
    return objective


def noise(num_batches: int) -> list[AudioBatch]:
    generator = torch.Generator().manual_seed(0)
    return [
        AudioBatch(audio=0.1 * torch.randn(2, 1, 2400, generator=generator), ids=["a", "b"]) for _ in range(num_batches)
    ]


@pytest.mark.parametrize("cls", [NeuCodec, DistillNeuCodec])
def test_without_adversarial_weights_there_is_no_critic(cls: type[NeuCodec]) -> None:
    model = codec(cls)
    objective = make(model, correlation_weight=0.1, latent_weight=0.01)
    assert objective.critic is None
    loss, terms, _ = objective.model_loss(model, noise(1)[0], step=0, generator=torch.Generator())
    assert set(terms) == {"spectral", "correlation", "latent", "value_std"}
    torch.testing.assert_close(loss, terms["spectral"] + 0.1 * terms["correlation"] + 0.01 * terms["latent"])


def test_either_adversarial_weight_needs_the_critic() -> None:
    for name in ("adversarial_weight", "feature_matching_weight"):
        options = {name: 0.1, "crop_s": 0.2}
        assert make(codec(), **options).critic is not None


@pytest.mark.parametrize("residual", [None, ResidualConfig(codebook_size=8)])
def test_a_warm_start_gives_whitened_values_and_the_mean_spectrum(residual: ResidualConfig | None) -> None:
    model = codec(residual=residual).train()
    batches = noise(5)
    taken = iter(batches)
    make(model, warm_start_examples=6).warm_start(model, taken)
    assert len(list(taken)) == 2  # three batches of two are all that it takes
    audio = torch.cat([one.audio for one in batches[:3]])
    with torch.no_grad():
        z = model.quantiser.project_in(model.fuse(to_rate(audio, RATE, 16000))).flatten(0, 1)
    torch.testing.assert_close(z.mean(0), torch.zeros(8), atol=1e-3, rtol=0)
    few = z.std(0) < 0.89  # components of next to no variance are not amplified without end
    torch.testing.assert_close(z.std(0, correction=0)[~few], torch.full((8,), 0.9)[~few], rtol=0.02, atol=0)
    assert few.sum() <= 6
    if residual is not None:  # entries lie among the values: they code better than the mean alone
        values = model.quantiser.values(model.fuse(to_rate(audio, RATE, 16000)))
        error = (model.quantiser.straight_through(values) - values).square().mean()
        assert error < 0.8 * (values - values.mean((0, 1))).square().mean()
    log = model.decoder.head.out.bias[:961].detach()
    assert float(log.exp().mean()) == pytest.approx(float(mean_log_magnitudes(audio[:, 0], 1920).exp().mean()))


def test_stage_decoder_starts_its_decoder_alone() -> None:
    model = codec()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    make(model, stage="decoder", warm_start_examples=2).warm_start(model, iter(noise(1)))
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"decoder.head.out.bias"}


def test_a_crop_must_be_longer_than_the_windows() -> None:
    with pytest.raises(ValueError, match="is 480 samples, but the windows need 2049"):
        make(codec(), crop_s=0.02, spectral=SpectralLossConfig())


def test_the_loop_trains_without_a_critic(tmp_path: Path) -> None:
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "0.wav", np.random.default_rng(1).uniform(-0.3, 0.3, RATE // 2), RATE)
    keys = ("adversarial_weight=0", "feature_matching_weight=0", "warm_start_examples=4", "correlation_weight=0.1")
    overrides = [f"data.source={audio}", f"output={tmp_path / 'run'}", *(f"model.objective.{key}" for key in keys)]
    train(train_config(load_settings("train/neucodec-tiny", overrides)))
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert {"mel", "correlation"} <= lines[-1].keys()
    assert not any("critic" in key or key == "adversarial" for key in lines[-1])
    assert not list(tmp_path.rglob("critic*"))
    overrides += ["critic_optimizer={lr: 1e-3}", f"output={tmp_path / 'other'}"]
    with pytest.raises(ValueError, match="NeuCodecObjective has no critic, or its terms have weight 0"):
        train(train_config(load_settings("train/neucodec-tiny", overrides)))
