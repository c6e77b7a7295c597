"""The training objective: it trains encoder, upsampler and denoiser, and follows its constants."""

from __future__ import annotations

import pytest
import torch

from latentune.core.objective import AudioBatch
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.codicodec.consistency import noise_level, noise_position, preconditioning
from latentune.tokenizers.codicodec.objective import ConsistencyConfig, ConsistencyObjective


def make(seed: int = 0, **constants: object) -> tuple[CoDiCodec, ConsistencyObjective, AudioBatch]:
    torch.manual_seed(seed)
    config = CoDiCodecConfig.tiny()
    objective = ConsistencyObjective(ConsistencyConfig(**constants), config)  # type: ignore[arg-type]
    time = torch.arange(objective.num_samples) / 48000
    audio = 0.3 * torch.stack([torch.sin(2 * torch.pi * f * time) for f in (300.0, 1200.0, 400.0, 900.0)])
    batch = AudioBatch(audio=audio.reshape(2, 2, -1), ids=["a", "b"])
    return CoDiCodec(config), objective, batch


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_model_is_the_identity_at_the_lowest_noise() -> None:
    config = CoDiCodecConfig()
    skip, out, _ = preconditioning(torch.tensor([config.sigma_min]), config)
    assert float(skip) == 1
    assert float(out) == 0
    position = torch.linspace(0, 1, 11)
    levels = noise_level(position, config)
    assert float(levels[0]) == pytest.approx(config.sigma_min, rel=1e-4)
    assert float(levels[-1]) == pytest.approx(config.sigma_max, rel=1e-4)
    torch.testing.assert_close(noise_position(levels, config), position, atol=1e-5, rtol=0)


def test_training_lowers_the_loss() -> None:
    """With both levels as far apart as can be the target is the clean signal, so the loss must fall."""
    codec, objective, batch = make(
        drawn_level="upper", log_sigma_mean=-1.0, step_exponent_start=0.0, step_exponent_end=0.0, weight_exponent=0.25
    )
    optimizer = torch.optim.AdamW(codec.parameters(), lr=3e-3)

    @torch.no_grad()
    def held_out() -> float:
        losses = [objective(codec, batch, step=0, generator=seeded(1000 + s))[0] for s in range(8)]
        return float(torch.stack(losses).mean())

    before = held_out()
    for step in range(40):
        loss, _ = objective(codec, batch, step=0, generator=seeded(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert held_out() < 0.8 * before


def test_every_parameter_gets_a_gradient() -> None:
    codec, objective, batch = make()
    for parameter in codec.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    objective(codec, batch, step=0, generator=seeded(0))[0].backward()
    assert [name for name, p in codec.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_same_generator_gives_the_same_loss() -> None:
    codec, objective, batch = make()
    one, same, other = (objective(codec, batch, step=5, generator=seeded(s))[0].item() for s in (1, 1, 2))
    assert one == same
    assert one != other


def test_the_noise_levels_come_closer() -> None:
    codec, objective, batch = make(total_steps=100)
    early, late = (objective(codec, batch, step=s, generator=seeded(0))[1]["sigma_step"] for s in (0, 100))
    assert late < 0.2 * early


def test_fsq_dropout_switches_the_rounding() -> None:
    codec, objective, batch = make(fsq_dropout=1.0)
    torch.nn.init.normal_(codec.encoder.project.weight)  # it starts from zero, which rounding does not change
    seen = {}
    codec.upsampler.register_forward_pre_hook(lambda _, arguments: seen.update(values=arguments[0] * 5))
    for fsq_dropout, rounded in ((1.0, False), (0.0, True)):
        objective = ConsistencyObjective(ConsistencyConfig(fsq_dropout=fsq_dropout), codec.settings)
        objective(codec, batch, step=0, generator=seeded(0))
        assert torch.allclose(seen["values"], seen["values"].round(), atol=1e-4) == rounded


def test_gradient_checkpointing_changes_nothing() -> None:
    codec, objective, batch = make()
    loss = objective(codec, batch, step=0, generator=seeded(0))[0]
    for transformer in (codec.encoder.transformer, codec.upsampler.transformer, codec.denoiser.transformer):
        transformer.checkpointing = True
    again = objective(codec, batch, step=0, generator=seeded(0))[0]
    again.backward()
    assert loss.item() == pytest.approx(again.item(), rel=1e-5)


def test_bad_input() -> None:
    codec, objective, batch = make()
    with pytest.raises(ValueError, match="training takes audio"):
        objective(codec, AudioBatch(audio=batch.audio[..., :-1], ids=batch.ids), step=0, generator=seeded(0))
    with pytest.raises(ValueError, match="probability"):
        ConsistencyConfig(fsq_dropout=1.5)
