"""Given frames: their times, their paths through solvers, noise levels, and what the network sees of them."""

from typing import Any

import diffusers
import pytest
import torch
from fake_binding import LATENT_BINDING
from sampling import sample
from torch import Tensor

from latentune.generators.base import TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.generators.given import Given
from latentune.tokenizers.base import Encoded

SCHEDULERS = ["FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "UniPCMultistepScheduler"]


def config(given: bool | None) -> DiffusionTransformerConfig:
    return DiffusionTransformerConfig(
        binding=LATENT_BINDING,
        width=16,
        depth=2,
        heads=2,
        max_frames=32,
        conditioning=ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}),
        trained_on=TrainedOn(given=given),
    )


class Watched(DiffusionTransformer):
    """Keeps what it sees, and answers with the flow to the normalised latent 0.5."""

    def __init__(self, config: DiffusionTransformerConfig):
        super().__init__(config)
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
        self.seen.append((noisy, t.each().squeeze(1)))
        return (noisy - 0.5) / t.each()[..., None].clamp_min(1e-6)


def encoded(frames: int = 8) -> Encoded:
    return Encoded(
        latents=torch.randn(1, frames, 3, generator=torch.Generator().manual_seed(9)),
        tokens=torch.zeros(1, 2 * frames, 1, dtype=torch.int64),
        lengths_samples=torch.tensor([10 * frames]),
    )


def normal(latents: Tensor) -> Tensor:
    return (latents - torch.tensor(LATENT_BINDING.latent_mean)) / torch.tensor(LATENT_BINDING.latent_std)


def draw(model: DiffusionTransformer, keep: list[bool], level: float = 0.0, **options: Any) -> Tensor:
    given = Given(encoded=encoded(), keep=torch.tensor([keep]), noise_level=level)
    options = {"num_inference_steps": 5, "solver": "euler", **options}
    latents = sample(model, Conditions.of([""], 1.0), [80], given=given, **options).latents
    assert latents is not None
    return latents[0]


def test_a_network_trained_for_it_sees_given_frames_clean_at_time_zero() -> None:
    model = Watched(config(True))
    latents = draw(model, [True, False, True, False])
    where = torch.tensor([True, True, False, False] * 2)
    assert torch.equal(latents[where], encoded().latents[0, where])
    for (noisy, t), time in zip(model.seen, (1.0, 0.8, 0.6, 0.4, 0.2), strict=True):
        torch.testing.assert_close(t[0], torch.where(where, 0.0, time))
        torch.testing.assert_close(noisy[0, where], normal(encoded().latents)[0, where])


def test_another_network_sees_them_at_the_noise_level_of_all_frames() -> None:
    model = Watched(config(None))
    latents = draw(model, [True, False, True, False])
    where = torch.tensor([True, True, False, False] * 2)
    assert torch.equal(latents[where], encoded().latents[0, where])
    start = model.seen[0][0][0]  # pure noise
    for (noisy, t), time in zip(model.seen, (1.0, 0.8, 0.6, 0.4, 0.2), strict=True):
        torch.testing.assert_close(t, torch.tensor([time]))
        path = (1 - time) * normal(encoded().latents)[0] + time * start
        torch.testing.assert_close(noisy[0, where], path[where])


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("level", [0.25, 0.6, 1.0])
def test_a_whole_recording_with_noise_starts_at_its_level(name: str, level: float) -> None:
    model = Watched(config(True))
    kind = getattr(diffusers, name)
    flow: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    scheduler = kind() if name.startswith("FlowMatch") else kind(**flow)
    latents = draw(model, [True] * 4, level, num_inference_steps=8, scheduler=scheduler)
    noisy, t = model.seen[0]
    assert 0.5 * level < float(t.max()) <= level + 1e-6
    if name.startswith("FlowMatchEuler"):
        assert float(t.max()) == pytest.approx(level)
        assert len(model.seen) == 8
    assert t.ndim == 1
    noise = (noisy - (1 - t) * normal(encoded().latents)) / t
    assert abs(noise.mean()) < 0.6
    assert 0.6 < noise.std() < 1.4
    torch.testing.assert_close(normal(latents), torch.full((8, 3), 0.5), atol=0.05, rtol=0)  # where the flow leads


@pytest.mark.parametrize("name", SCHEDULERS[:2])
def test_chunks_with_noise_join_the_others_when_the_time_has_come_down_to_their_level(name: str) -> None:
    model = Watched(config(True))
    latents = draw(model, [True, True, False, False], 0.5, scheduler=getattr(diffusers, name)())
    where = torch.tensor([True] * 4 + [False] * 4)
    above = [(noisy, t) for noisy, t in model.seen if t.max() > 0.5 + 1e-6]
    for noisy, t in above:
        torch.testing.assert_close(t[0], torch.where(where, 0.5, t.max()))
        torch.testing.assert_close(noisy[0, where], above[0][0][0, where])
    first = next((noisy, t) for noisy, t in model.seen if t.max() <= 0.5 + 1e-6)
    level = float(first[1])
    noise = (above[0][0] - 0.5 * normal(encoded().latents)) / 0.5
    path = (1 - level) * normal(encoded().latents) + level * noise
    torch.testing.assert_close(first[0][0, where], path[0, where], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(normal(latents), torch.full((8, 3), 0.5), atol=0.05, rtol=0)


def test_the_same_time_for_each_frame_is_one_time_and_another_one_is_not() -> None:
    torch.manual_seed(0)
    model = DiffusionTransformer(config(True)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape) * (0.3 if weight.ndim > 1 else 1.0))
        x, asked = torch.randn(2, 8, 3), Conditions.of(["", ""], 1.0)
        t = torch.tensor([0.3, 0.7])
        base = model(x, t, conditions=asked)
        torch.testing.assert_close(model(x, t[:, None].expand(2, 8), conditions=asked), base, atol=1e-5, rtol=1e-5)
        mixed = t[:, None].repeat(1, 8)
        mixed[0, 2] = 0.0
        moved = (model(x, mixed, conditions=asked) - base).abs().amax(-1)
    assert moved[0].min() > 1e-4  # the other frames of the item see it too
    assert moved[1].max() < 1e-5
    with pytest.raises(ValueError, match=r"times must be \[B\] or \[B, T\], got \(2, 4\)"):
        model(x, mixed[:, :4], conditions=asked)
