"""The objective: terms that vanish where they must, gradients everywhere, a start that the data give, and learning."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from latentune.core.objective import AudioBatch
from latentune.tokenizers.melcodec import MelCodec, MelCodecConfig
from latentune.tokenizers.melcodec.losses import pitch_term
from latentune.tokenizers.melcodec.objective import MelCodecObjective, MelCodecObjectiveConfig

SMALL: dict[str, Any] = {
    "crop_s": 0.2,
    "windows_samples": (64, 256),
    "num_mels": (8, 20),
    "level_window_samples": 256,
    "level_mels": 8,
    "warm_start_examples": 8,
}
WITH_PITCH = replace(MelCodecConfig.tiny(), pitch_range_hz=(60.0, 400.0))


def objective(codec: MelCodecConfig = WITH_PITCH, **changes: Any) -> MelCodecObjective:
    return MelCodecObjective(MelCodecObjectiveConfig(**{**SMALL, **changes}), codec)


def tones(generator: torch.Generator, batch: int = 4, num_samples: int = 1600) -> AudioBatch:
    """Buzzes of random pitch in noise."""
    time = torch.arange(num_samples) / 8000
    pitch = 80 + 250 * torch.rand(batch, 1, generator=generator)
    audio = sum(torch.sin(2 * torch.pi * pitch * k * time + k) / k for k in range(1, 6))
    audio = 0.1 * audio + 0.01 * torch.randn(batch, num_samples, generator=generator)
    return AudioBatch(audio=audio[:, None], ids=[str(i) for i in range(batch)])


def model(codec: MelCodecConfig = WITH_PITCH) -> MelCodec:
    torch.manual_seed(0)
    return MelCodec(codec)


# ---------------------------------------------------------------------- terms


def test_the_pitch_counts_where_the_original_is_voiced() -> None:
    octave = torch.tensor([[1.0, -3.0, 0.5]], requires_grad=True)
    term = pitch_term(octave, torch.tensor([[120.0, 0.0, 240.0]]))
    torch.testing.assert_close(term.detach(), torch.tensor(0.75))
    term.backward()
    assert octave.grad is not None
    assert octave.grad[0, 1] == 0
    assert float(pitch_term(octave.detach(), torch.zeros(1, 3))) == 0


# ---------------------------------------------------------------------- the start


def test_a_warm_start_gives_whitened_digits(generator: torch.Generator) -> None:
    codec, batches = model(), [tones(generator) for _ in range(40)]
    objective(warm_start_examples=160).warm_start(codec, iter(batches))
    features = torch.cat([codec.front(batch.audio[:, 0])[:, 4:-4].flatten(0, 1) for batch in batches])
    z = codec.encoder.project_principal(features[None])[0]
    torch.testing.assert_close(z.std(0), torch.full((6,), codec.settings.latent_scale), rtol=0.05, atol=0)
    assert (torch.corrcoef(z.T) - torch.eye(6)).abs().max() < 0.05
    assert features.mean(0).abs().max() < 0.05


def test_a_warm_start_is_a_function_of_the_first_examples(generator: torch.Generator) -> None:
    batches = [tones(generator) for _ in range(3)]
    first, second = model(), model()
    for codec, later in ((first, batches[2:]), (second, [])):
        objective().warm_start(codec, iter(batches[:2] + later))  # two batches of four are all that it takes
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


# ---------------------------------------------------------------------- the loss


@pytest.mark.parametrize("codec", [WITH_PITCH, MelCodecConfig.tiny(), replace(WITH_PITCH, causal=True)])
def test_every_weight_has_a_gradient(codec: MelCodecConfig, generator: torch.Generator) -> None:
    network, task = model(codec), objective(codec)
    task.warm_start(network, iter(tones(generator) for _ in range(9)))
    loss, metrics = task(network, tones(generator), step=0, generator=generator)
    loss.backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(torch.isfinite(value) for value in metrics.values())
    assert ("pitch" in metrics) == (codec.pitch_range_hz is not None)


def test_all_randomness_comes_from_the_generator(generator: torch.Generator) -> None:
    network, task, batch = model(), objective(unrounded_probability=0.5), tones(generator, batch=8)
    losses = [
        float(task(network, batch, step=0, generator=torch.Generator().manual_seed(seed))[0].detach())
        for seed in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_it_learns(generator: torch.Generator) -> None:
    network, task, batch = model(), objective(), tones(generator, batch=4)
    task.warm_start(network, iter([batch, batch]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss, _ = task(network, batch, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.6 * losses[0]


def test_audio_of_another_shape_is_refused(generator: torch.Generator) -> None:
    batch = AudioBatch(audio=torch.zeros(1, 1, 1520), ids=["a"])
    with pytest.raises(ValueError, match=r"takes audio \[B, 1, 1600\]"):
        objective()(model(), batch, step=0, generator=generator)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_s": 0.0}, "crop_s must lie above 0"),
        ({"crop_s": 0.03}, "not longer than a window"),
        ({"num_mels": (8,)}, "differ in length"),
        ({"windows_samples": (66, 256)}, "multiples of 4"),
        ({"unrounded_probability": 1.5}, "0..1"),
        ({"mel_weight": -1.0}, "mel_weight must not be below 0"),
        ({"warm_start_examples": 0}, "must be at least 1"),
        ({"mel_weight": 0.0, "log_weight": 0.0, "relative_weight": 0.0, "level_weight": 0.0}, "nothing to train on"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective(**changes)


def test_a_term_without_a_weight_is_left_out(generator: torch.Generator) -> None:
    network, batch = model(), tones(generator)
    _, metrics = objective(pitch_weight=0.0, level_weight=0.0)(network, batch, step=0, generator=generator)
    assert "pitch" not in metrics
    assert "level" not in metrics
