"""Guidance: weights of branches, negative prompts, scales per condition, interval, rescaling and projection."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, LATENT_BINDING
from sampling import sample
from torch import Tensor

from latentune.core.errors import ConfigError
from latentune.generators.base import SamplingConfig
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.diffusion.guidance import limit_size, projection, rescale
from latentune.generators.parts.guidance import guidance_branches

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    max_frames=32,
    conditioning=CONDITIONING,
)
LENGTHS = [100, 30, 61]
ASKED = Conditions.of(["piano", "", "rain"], 1.0, ["rock", "rock", None])
ONE_STEP: dict[str, Any] = {"num_inference_steps": 1, "solver": "euler"}  # the result is then linear in the velocity


@pytest.fixture
def model() -> DiffusionTransformer:
    generator = torch.Generator().manual_seed(1)
    model = DiffusionTransformer(CONFIG).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim > 1 else 1.0))
    return model


def draw(model: DiffusionTransformer, asked: Conditions = ASKED, **options: Any) -> Tensor:
    latents = sample(model, asked, LENGTHS, **{**ONE_STEP, **options}).latents
    assert latents is not None
    return latents


def test_a_negative_prompt_takes_the_place_of_nothing(model: DiffusionTransformer) -> None:
    plain, away = draw(model), draw(model, ASKED.replaced(text=["noise"] * 3))
    guided = draw(model, guidance_scale=3.0, negative_prompt="noise")
    torch.testing.assert_close(guided, away + 3.0 * (plain - away), atol=1e-4, rtol=1e-4)
    assert (guided - draw(model, guidance_scale=3.0)).abs().max() > 1e-3


def test_a_scale_of_one_condition_weighs_its_own_difference(model: DiffusionTransformer) -> None:
    plain = draw(model)
    without = draw(model, ASKED.replaced(text=[""] * 3))
    only_text = draw(model, guidance_scales={"text": 4.0})
    torch.testing.assert_close(only_text, plain + 3.0 * (plain - without), atol=1e-4, rtol=1e-4)
    both = draw(model, guidance_scale=2.0, guidance_scales={"text": 4.0})
    torch.testing.assert_close(both, draw(model, guidance_scale=2.0) + 2.0 * (plain - without), atol=1e-4, rtol=1e-4)
    same = draw(model, guidance_scale=2.0, guidance_scales={"text": 2.0, "label": 2.0})
    torch.testing.assert_close(same, draw(model, guidance_scale=2.0))
    with_negative = draw(model, guidance_scales={"text": 4.0}, negative_prompt="noise")
    away = draw(model, ASKED.replaced(text=["noise"] * 3))
    torch.testing.assert_close(with_negative, plain + 3.0 * (plain - away), atol=1e-4, rtol=1e-4)


def test_weights_add_up_to_one_and_cost_no_pass_that_counts_nothing(model: DiffusionTransformer) -> None:
    for options, count in (
        ({}, 1),
        ({"guidance_scale": 2.0}, 2),
        ({"guidance_scales": {"text": 1.0}}, 1),
        ({"guidance_scale": 2.0, "guidance_scales": {"text": 2.0, "label": 3.0}}, 3),
        ({"guidance_scale": 2.0, "guidance_scales": {"text": 4.0}, "negative_prompt": "x"}, 2),
    ):
        branches = guidance_branches(model.condition_encoder, ASKED, SamplingConfig(**options))  # type: ignore[arg-type]
        assert len(branches.weights) == count
        assert len(branches.encoded) == 3 * count
        assert sum(branches.weights) == pytest.approx(1.0)


def test_outside_of_its_interval_guidance_is_off(model: DiffusionTransformer) -> None:
    options = {"num_inference_steps": 4, "guidance_scale": 3.0}
    plain, guided = draw(model, num_inference_steps=4), draw(model, **options)
    assert torch.equal(draw(model, **options, guidance_interval=(0.0, 1.0)), guided)
    assert torch.equal(draw(model, **options, guidance_interval=(0.3, 0.3)), plain)  # steps are at 1, .75, .5 and .25
    part = draw(model, **options, guidance_interval=(0.4, 0.6))
    assert (part - plain).abs().max() > 1e-3
    assert (part - guided).abs().max() > 1e-3


def test_projection_splits_and_masks() -> None:
    generator = torch.Generator().manual_seed(0)
    update, onto = torch.randn(2, 2, 5, 3, generator=generator)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    parallel = projection(update, onto, mask)
    rest = update - parallel
    assert (rest * onto * mask[..., None]).sum((1, 2)).abs().max() < 1e-5
    torch.testing.assert_close(projection(update, onto, None)[0], parallel[0])
    torch.testing.assert_close(projection(update[1:, :2], onto[1:, :2], None), parallel[1:, :2])
    assert projection(update, torch.zeros_like(onto), mask).abs().max() == 0


def test_sizes_are_limited_and_deviations_restored_item_by_item() -> None:
    generator = torch.Generator().manual_seed(0)
    small, large = torch.randn(2, 2, 50, 3, generator=generator)
    mask = torch.arange(50) < torch.tensor([50, 20])[:, None]
    limited = limit_size(5 * large, 0.5, mask)
    for item, count in enumerate((50, 20)):
        assert limited[item, :count].square().mean().sqrt() == pytest.approx(0.5, rel=1e-5)
        whole = rescale(5 * large, small, 1.0, mask)[item, :count]
        assert whole.std(correction=0) == pytest.approx(float(small[item, :count].std(correction=0)), rel=1e-4)
    assert torch.equal(limit_size(large, 0.0, mask), large)
    assert torch.equal(limit_size(0.1 * large, 1.0, mask), 0.1 * large)
    half = rescale(5 * large, small, 0.5, mask)
    torch.testing.assert_close(half, (5 * large + rescale(5 * large, small, 1.0, mask)) / 2)


def test_adaptive_guidance_is_plain_guidance_where_it_changes_nothing(model: DiffusionTransformer) -> None:
    options: dict[str, Any] = {"num_inference_steps": 4, "guidance_scale": 3.0}
    plain = draw(model, **options)
    torch.testing.assert_close(draw(model, **options, guidance_threshold=1e9), plain, atol=1e-4, rtol=1e-3)
    for change in (
        {"guidance_parallel": 0.0},
        {"guidance_threshold": 0.1},
        {"guidance_momentum": -0.5},
        {"guidance_rescale": 0.7},
    ):
        changed = draw(model, **options, **change)
        assert (changed - plain).abs().max() > 1e-3, change
        assert torch.isfinite(changed).all()


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_an_item_does_not_depend_on_the_batch(model: DiffusionTransformer, solver: str) -> None:
    options: dict[str, Any] = {
        "num_inference_steps": 4,
        "guidance_scale": 3.0,
        "guidance_scales": {"label": 2.0},
        "guidance_parallel": 0.2,
        "guidance_threshold": 0.5,
        "guidance_rescale": 0.5,
        "negative_prompt": "noise",
        "solver": solver,
        "time_shift": 1.5,
        "shift_frames": 8,
    }
    together = draw(model, **options)
    generator = torch.Generator().manual_seed(0)
    for item, frames in enumerate((10, 4, 6)):
        alone = sample(model, ASKED.rows([item]), LENGTHS[item : item + 1], seed=generator, **options).latents
        torch.testing.assert_close(together[item : item + 1, :frames], alone, atol=1e-4, rtol=1e-4)


def test_wrong_requests_are_refused(model: DiffusionTransformer) -> None:
    for options, message in (
        ({"negative_prompt": "noise"}, "does nothing where guidance is off"),
        ({"guidance_scales": {"text": -1.0}}, "text must be 0 or more"),
        ({"guidance_scales": {"txt": 2.0}}, "no condition 'txt': did you mean 'text'"),
        ({"guidance_interval": (0.6, 0.4)}, "guidance_interval must be"),
        ({"guidance_interval": (0.0, 1.5)}, "guidance_interval must be"),
        ({"guidance_rescale": 1.5}, "guidance_rescale must lie in 0..1"),
        ({"guidance_threshold": -1.0}, "guidance_threshold must be 0 or more"),
        ({"guidance_momentum": 1.0}, "guidance_momentum within -1..1"),
    ):
        with pytest.raises((ValueError, ConfigError), match=message):
            draw(model, **options)  # type: ignore[arg-type]
    silent = replace(CONFIG, conditioning=ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}))
    with pytest.raises(ValueError, match="made without text: leave the negative prompt out"):
        draw(DiffusionTransformer(silent).eval(), Conditions.of([""] * 3, 1.0), guidance_scale=2.0, negative_prompt="x")
