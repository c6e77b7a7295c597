"""Sampling latents: against a known flow, seeds, batches, guidance, prefixes and schedulers."""

from dataclasses import replace
from typing import Any

import diffusers
import pytest
import torch
from fake_binding import CONDITIONING, LATENT_BINDING
from sampling import sample
from torch import Tensor

from latentune.generators.base import Generated
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.tokenizers.base import Encoded

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    max_frames=32,
    conditioning=CONDITIONING,
)
TEXTS, LENGTHS = ["piano", "", "rain"], [100, 30, 61]  # 5, 2 and 3 chunks


class PointFlow(DiffusionTransformer):
    """The exact flow to a data set of one point, the normalised latent 0.5."""

    def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
        return (noisy - 0.5) / t.each()[..., None].clamp_min(1e-6)


@pytest.fixture
def model() -> DiffusionTransformer:
    generator = torch.Generator().manual_seed(1)
    model = DiffusionTransformer(CONFIG).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim > 1 else 1.0))
    return model


def draw(model: DiffusionTransformer, texts: list[str] = TEXTS, lengths: list[int] = LENGTHS, **options: Any) -> Tensor:
    return generate(model, texts, lengths, **options).latents  # type: ignore[return-value]


def generate(
    model: DiffusionTransformer, texts: list[str], lengths: list[int], seed: Any = 0, **options: Any
) -> Generated:
    options.setdefault("num_inference_steps", 4)
    return sample(model, Conditions.of(texts, 1.0), lengths, seed=seed, **options)


def flow_scheduler(name: str) -> Any:
    if name.startswith("FlowMatch"):
        return getattr(diffusers, name)()
    return getattr(diffusers, name)(use_flow_sigmas=True, prediction_type="flow_prediction")


SCHEDULERS = [
    "FlowMatchEulerDiscreteScheduler",
    "FlowMatchHeunDiscreteScheduler",
    "UniPCMultistepScheduler",
    "DPMSolverMultistepScheduler",
]


@pytest.mark.parametrize("name", [None, *SCHEDULERS])
def test_a_known_flow_is_followed_to_its_end(name: str | None) -> None:
    latents = draw(
        PointFlow(CONFIG).eval(), num_inference_steps=8, scheduler=None if name is None else flow_scheduler(name)
    )
    point = 0.5 * torch.tensor(LATENT_BINDING.latent_std) + torch.tensor(LATENT_BINDING.latent_mean)
    for item, frames in enumerate((10, 4, 6)):
        torch.testing.assert_close(latents[item, :frames], point.expand(frames, 3), atol=0.02, rtol=0)


def test_shapes_and_zero_padding(model: DiffusionTransformer) -> None:
    result = generate(model, TEXTS, LENGTHS)
    assert result.latents is not None
    assert result.latents.shape == (3, 10, 3)
    assert result.tokens is None
    assert result.lengths_samples.tolist() == LENGTHS
    assert result.latents[1, 4:].abs().max() == 0
    assert result.latents[1, :4].abs().min() > 0


def test_the_same_seed_gives_the_same_and_another_does_not(model: DiffusionTransformer) -> None:
    assert torch.equal(draw(model), draw(model))
    assert not torch.allclose(draw(model), draw(model, seed=1))


@pytest.mark.parametrize("guidance_scale", [1.0, 3.0])
def test_an_item_does_not_depend_on_the_batch(model: DiffusionTransformer, guidance_scale: float) -> None:
    together = draw(model, guidance_scale=guidance_scale)
    generator = torch.Generator().manual_seed(0)
    for item, frames in enumerate((10, 4, 6)):
        alone = draw(
            model, TEXTS[item : item + 1], LENGTHS[item : item + 1], seed=generator, guidance_scale=guidance_scale
        )
        torch.testing.assert_close(together[item : item + 1, :frames], alone, atol=1e-4, rtol=1e-4)


def test_guidance_is_off_at_one_null_at_zero_and_extrapolates(model: DiffusionTransformer) -> None:
    nothing = Conditions.of([""] * 3, float("nan"), seconds_start=float("nan"))
    null = sample(model, nothing, LENGTHS, num_inference_steps=1, solver="euler").latents
    options: dict[str, Any] = {"num_inference_steps": 1, "solver": "euler"}
    plain, off, twice = (draw(model, guidance_scale=scale, **options) for scale in (1.0, 0.0, 2.0))
    assert torch.equal(plain, draw(model, **options))
    torch.testing.assert_close(off, null, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(twice, 2 * plain - off, atol=1e-4, rtol=1e-4)  # one step is linear in the velocity
    assert (twice - plain).abs().max() > 1e-3


def prefix_of(*lengths: int) -> Encoded:
    frames = LATENT_BINDING.spec.num_latents(max(lengths))
    latents = torch.randn(len(lengths), frames, 3, generator=torch.Generator().manual_seed(9))
    tokens = torch.zeros(len(lengths), 2 * frames, 1, dtype=torch.int64)
    return Encoded(latents=latents, tokens=tokens, lengths_samples=torch.tensor(lengths))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_prefix_is_kept_bit_for_bit_and_changes_the_rest(model: DiffusionTransformer, name: str) -> None:
    prefix = prefix_of(30)
    continued = draw(model, prefix=prefix, lengths=[100, 50, 61], scheduler=flow_scheduler(name))
    assert torch.equal(continued[:, :2], prefix.latents[:, :2].expand(3, -1, -1))
    free = draw(model, lengths=[100, 50, 61], scheduler=flow_scheduler(name))
    assert (continued[:, 2:4] - free[:, 2:4]).abs().amax((1, 2)).min() > 1e-3
    assert torch.isfinite(continued).all()


def test_each_item_keeps_its_own_prefix(model: DiffusionTransformer) -> None:
    prefix = prefix_of(30, 70)
    latents = draw(model, ["", "x"], [100, 100], prefix=prefix)
    assert torch.equal(latents[0, :2], prefix.latents[0, :2])
    assert torch.equal(latents[1, :6], prefix.latents[1, :6])
    assert not torch.isclose(latents[0, 2:6], prefix.latents[0, 2:6]).any()


def test_the_callback_counts_to_the_end_and_a_scheduler_is_left_as_it_was(model: DiffusionTransformer) -> None:
    seen: list[tuple[int, int]] = []
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0)
    before = scheduler.sigmas.clone()
    shifted = draw(model, callback=lambda done, total: seen.append((done, total)), scheduler=scheduler)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert torch.equal(scheduler.sigmas, before)
    assert not torch.allclose(shifted, draw(model))


def test_wrong_requests_are_refused(model: DiffusionTransformer) -> None:
    cases: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "num_inference_steps must be at least 1", {"num_inference_steps": 0}),
        (ValueError, "not set to flow matching", {"scheduler": diffusers.UniPCMultistepScheduler()}),
        (ValueError, "at most 0.3 s at once", {"lengths": [500, 10, 10]}),
        (ValueError, "audio of 0 samples", {"lengths": [100, 0, 10]}),
        (ValueError, "guidance_scale", {"guidance_scale": float("nan")}),
        (TypeError, "did you mean 'num_inference_steps'", {"num_inference_step": 3}),
        (ValueError, "another tokenizer", {"prefix": replace(prefix_of(30), latents=torch.zeros(1, 2, 4))}),
        (ValueError, "hold NaN", {"prefix": replace(prefix_of(30), latents=torch.full((1, 2, 3), float("nan")))}),
    ]
    for error, message, options in cases:
        lengths = [100, 50, 61] if "prefix" in options else LENGTHS
        with pytest.raises(error, match=message):
            draw(model, **{"lengths": lengths, **options})
    with pytest.raises(ValueError, match="unknown label 'rok'"):
        model.sample(Conditions.of([""], 1.0, ["rok"]), torch.tensor([10]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_give_nearly_the_same(model: DiffusionTransformer, dtype: torch.dtype) -> None:
    full = draw(model, guidance_scale=2.0)
    half = draw(model.to(dtype), guidance_scale=2.0)
    assert half.dtype == torch.float32
    assert (half - full).abs().mean() < 0.05 * full.abs().mean()
