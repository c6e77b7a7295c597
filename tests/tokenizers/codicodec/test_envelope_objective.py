"""The two stages of training on little data: the envelope alone, then the denoiser with an ear for chunk borders."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentune.core.objective import AudioBatch
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.codicodec.envelope_objective import EnvelopeConfig, EnvelopeObjective, distance_from_uniform
from latentune.tokenizers.codicodec.objective import ConsistencyConfig, ConsistencyObjective
from latentune.tokenizers.codicodec.pairs import pair_chunks
from latentune.tokenizers.codicodec.waveform_loss import WaveformLoss, WaveformLossConfig

CONFIG = replace(CoDiCodecConfig.tiny(), channels=1, sample_rate=16000, shortcuts=True, envelope_bands=16)
SHORT: dict[str, Any] = {
    "windows_samples": (64, 256),
    "num_mels": (8, 20),
    "level_window_samples": 256,
    "level_mels": 8,
}
HEARD = WaveformLossConfig(**SHORT)


def objective(**changes: Any) -> EnvelopeObjective:
    return EnvelopeObjective(EnvelopeConfig(**{"waveform": HEARD, "warm_start_pairs": 32, **changes}), CONFIG)


def batch(count: int = 4, seed: int = 0) -> AudioBatch:
    """Tones in noise, of random pitch and level."""
    random, length = torch.Generator().manual_seed(seed), 2 * CONFIG.chunk_samples + CONFIG.stft_hop_samples
    time = torch.arange(length) / 16000
    pitch, level = torch.rand(2, count, 1, 1, generator=random)
    audio = torch.sin(2 * torch.pi * (300 + 4000 * pitch) * time) + 0.1 * torch.randn(
        count, 1, length, generator=random
    )
    return AudioBatch(audio=0.3 * level * audio, ids=[str(i) for i in range(count)])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def warm(seed: int = 0) -> CoDiCodec:
    torch.manual_seed(seed)
    codec, stage = CoDiCodec(CONFIG), objective()
    stage.prepare(codec)
    stage.warm_start(codec, (batch(8, seed) for seed in range(100, 200)))
    return codec


def test_training_lowers_the_loss() -> None:
    codec, stage, data = warm(), objective(fsq_dropout=1.0), batch()
    optimizer = torch.optim.AdamW([p for p in codec.parameters() if p.requires_grad], lr=2e-3)
    losses = []
    for step in range(40):
        loss, figures = stage(codec, data, step=step, generator=seeded(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-8:]) < sum(losses[:8]) - 1.0
    assert abs(float(figures["level_db"])) < 3.0


def test_all_but_the_denoising_network_learns() -> None:
    codec = warm()
    objective()(codec, batch(), step=0, generator=seeded())[0].backward()
    reached = {name for name, p in codec.named_parameters() if p.grad is not None}
    assert reached == {
        name for name, _ in codec.named_parameters() if not name.startswith("denoiser.") or ".deviation." in name
    }


def test_a_warm_start_is_a_function_of_the_first_examples() -> None:
    one, same = warm(), warm()
    assert one.fingerprint() == same.fingerprint()
    assert (one.encoder.envelope.bins != 0).all()


def test_the_same_generator_gives_the_same_loss() -> None:
    codec = warm()
    one, same, other = (objective()(codec, batch(), step=0, generator=seeded(s))[0].item() for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_values_that_are_spread_evenly_cost_nothing() -> None:
    even = torch.linspace(-1, 1, 1001)[torch.randperm(1001, generator=seeded())][:, None]
    assert float(distance_from_uniform(even)) < 1e-5
    assert float(distance_from_uniform(torch.zeros(1000, 1))) == pytest.approx(1 / 3, rel=1e-3)


def test_the_waveform_loss_hears_what_lies_between_two_chunks() -> None:
    """A chunk of the other sign has the same magnitudes everywhere but in the hop that two chunks share."""
    data = batch()
    pairs, hear = pair_chunks(data.audio, CONFIG), WaveformLoss(HEARD, CONFIG)
    assert float(hear(pairs, data.audio)[1]["mel"]) < 2e-4
    turned = pairs * torch.tensor([1.0, -1.0])[:, None, None, None]
    assert float(hear(turned, data.audio)[1]["mel"]) > 2e-3


def test_the_second_stage_reaches_every_parameter_and_starts_from_noise_alone_if_asked() -> None:
    codec = warm().requires_grad_(True)
    for parameter in codec.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    stage = ConsistencyObjective(ConsistencyConfig(waveform=HEARD, start_probability=1.0, step_start=0.5), CONFIG)
    loss, figures = stage(codec, batch(), step=0, generator=seeded())
    loss.backward()
    assert [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()] == []
    low, high = stage._noise_levels(pair_chunks(batch().audio, CONFIG), 0, seeded())
    assert high.unique().tolist() == pytest.approx([CONFIG.sigma_max])
    assert low.unique().tolist() == pytest.approx([float(figures["sigma_step"] * -1 + CONFIG.sigma_max)], rel=1e-3)


def test_the_waveform_loss_is_added() -> None:
    codec, losses = warm(), []
    for waveform in (None, HEARD):
        stage = ConsistencyObjective(ConsistencyConfig(waveform=waveform), CONFIG)
        losses.append(stage(codec, batch(), step=0, generator=seeded())[0].item())
    assert losses[1] > losses[0] + 0.1


def test_bad_input() -> None:
    codec, data = warm(), batch()
    with pytest.raises(ValueError, match="training takes audio"):
        objective()(codec, AudioBatch(audio=data.audio[..., :-1], ids=data.ids), step=0, generator=seeded())
    with pytest.raises(ValueError, match="needs a codec with envelope_bands"):
        EnvelopeObjective(EnvelopeConfig(), CoDiCodecConfig.tiny())
    with pytest.raises(ValueError, match="probability"):
        EnvelopeConfig(fsq_dropout=-0.1)
    with pytest.raises(ValueError, match="too few for a window"):
        objective(waveform=WaveformLossConfig(**{**SHORT, "windows_samples": (64, 8192)}))
    with pytest.raises(ValueError, match="differ in length"):
        WaveformLossConfig(windows_samples=(64,))
    with pytest.raises(ValueError, match="nothing to train on"):
        WaveformLoss(WaveformLossConfig(mel_weight=0, log_weight=0, level_weight=0), CoDiCodecConfig())
