"""Mean flow: derivatives along a path, what is learned, and sampling in one step."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING
from latent_batches import latent_batch, random_weights, seed
from sampling import sample
from torch import Tensor, nn

from latentune.core.config import ConfigError
from latentune.generators.adapters import AdapterConfig, add_adapter
from latentune.generators.base import TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.diffusion.derivative import difference, exact_derivative
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.generators.diffusion.mean_flow import MeanFlowConfig, MeanFlowObjective
from latentune.generators.load import load_generator
from latentune.generators.parts.keep import KeepPatterns
from latentune.generators.parts.runge_kutta import runge_kutta_step

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=32,
    depth=2,
    heads=2,
    max_frames=32,
    conditioning=ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}),
    trained_on=TrainedOn(conditions=("seconds",), given=True),
)
NOTHING = KeepPatterns(none=1, prefix=0, suffix=0, gap=0, gaps=0)
PREFIX = KeepPatterns(none=0, prefix=1, suffix=0, gap=0, gaps=0)
ASKED = Conditions.of(["", ""], 1.0)
ASKED_ONE = Conditions.of([""], 3.0)


def random_model(config: DiffusionTransformerConfig = CONFIG) -> DiffusionTransformer:
    return random_weights(DiffusionTransformer(config), 0.2)


class PointFlow(nn.Module):
    """The exact average velocity of the flow from noise to one point: along each straight path it is constant."""

    def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
        return (noisy - 0.5) / t.each()[..., None].clamp_min(1e-6)


def test_a_network_begins_as_it_was_and_its_spans_are_saved(tmp_path: Path) -> None:
    model = random_model()
    x, t = torch.randn(2, 6, 3, generator=seed()), torch.tensor([0.3, 0.9])
    before = model(x, t, conditions=ASKED)
    MeanFlowObjective(MeanFlowConfig(), model.settings).prepare(model)
    spanned = FrameTimes.of(t, torch.tensor([0.1, 0.9]))
    assert torch.equal(model(x, spanned, conditions=ASKED), before)
    nn.init.normal_(model.from_span[-1].weight)
    after = model(x, spanned, conditions=ASKED)
    assert (after - before).abs().amax((1, 2)).min() > 1e-3
    model.save_pretrained(tmp_path)
    assert torch.equal(load_generator(tmp_path)(x, spanned, conditions=ASKED), after)


@pytest.mark.parametrize("attention", ["full", "chunk_causal"])
def test_the_exact_derivative_is_the_limit_of_differences(attention: Any) -> None:
    model = random_model(replace(CONFIG, average_velocity=True, attention=attention, past_blocks=2)).double()
    x, velocity = (torch.randn(2, 6, 3, generator=seed(s), dtype=torch.float64) for s in (1, 2))
    times = FrameTimes.of(torch.tensor([0.3, 0.9]).double(), torch.tensor([0.1, 0.9]).double())
    times = times.given(torch.arange(6) < torch.tensor([[2], [0]]))
    moves = torch.tensor([[1.0, 0.0]] * 2).double()

    def network(x: Tensor, at: FrameTimes) -> Tensor:
        made: Tensor = model(x, at, conditions=ASKED)
        return made

    exact = exact_derivative(network, x, times, velocity, moves)
    # the times go through float32, where finer steps are lost
    near, far = (difference(network, x, times, velocity, moves, step) for step in (2e-4, 2e-3))
    assert (near - exact).norm() < 0.05 * exact.norm()
    assert (near - exact).norm() < 0.5 * (far - exact).norm()
    assert not exact.requires_grad


@pytest.mark.parametrize("derivative", ["exact", "difference"])
@pytest.mark.parametrize("patterns", [NOTHING, PREFIX])
def test_the_true_average_velocity_has_no_loss(derivative: Any, patterns: KeepPatterns) -> None:
    config = MeanFlowConfig(
        derivative=derivative, keep_patterns=patterns, logit_mean=1.0, time_distribution="logit-normal"
    )
    items = latent_batch(8)
    mean, std = torch.tensor(LATENT_BINDING.latent_mean), torch.tensor(LATENT_BINDING.latent_std)
    items.latents = (0.5 * std + mean).expand(8, 6, 3).clone()
    objective = MeanFlowObjective(config, replace(CONFIG, average_velocity=True))
    loss, metrics = objective(PointFlow(), items, step=0, generator=seed())
    wrong, _ = objective(Constant(), items, step=0, generator=seed())
    assert float(metrics["error"]) < 1e-3
    assert float(loss) < 0.5 < float(wrong)


class Constant(nn.Module):
    """A velocity of one everywhere."""

    def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
        return torch.ones_like(noisy) * t.each()[..., None].square()


def test_without_intervals_it_is_rectified_flow() -> None:
    plain = RectifiedFlowConfig(time_distribution="uniform")
    items, model = latent_batch(), random_model()
    rectified, _ = RectifiedFlowObjective(plain, CONFIG)(model, items, step=0, generator=seed())
    model.give_average_velocity()
    config = MeanFlowConfig(interval_share=0.0, error_power=0.0)
    mean, _ = MeanFlowObjective(config, model.settings)(model, items, step=0, generator=seed())
    torch.testing.assert_close(mean, rectified)


def test_intervals_lie_between_a_time_and_zero_and_are_as_frequent_as_asked() -> None:
    objective = MeanFlowObjective(MeanFlowConfig(interval_share=0.3), replace(CONFIG, average_velocity=True))
    t = torch.rand(4000, 1, generator=seed(1))
    spans = objective.draw_spans(t, seed())
    assert bool((spans >= 0).all())
    assert bool((spans <= t).all())
    assert abs(float((spans > 0).float().mean()) - 0.3) < 0.03


def test_distilling_learns_from_the_weights_it_starts_from_and_guidance_is_trained_in() -> None:
    model, items = random_model(), latent_batch()
    for scale in (1.0, 3.0):
        config = MeanFlowConfig(distill=True, interval_share=0.0, guidance_scale=scale, keep_patterns=NOTHING)
        objective = MeanFlowObjective(config, CONFIG)
        objective.prepare(model)
        _, metrics = objective(model, items, step=0, generator=seed())
        assert (float(metrics["error"]) < 1e-9) == (scale == 1.0)
    assert objective.teacher is not None
    assert not any(weight.requires_grad for weight in objective.teacher.parameters())
    with torch.no_grad():
        model.to_velocity.weight.zero_()
    assert bool(objective.teacher.to_velocity.weight.any())


@pytest.mark.parametrize("patterns", [NOTHING, PREFIX])
def test_the_mean_along_the_teachers_path_leads_where_its_steps_do(patterns: KeepPatterns) -> None:
    model = random_model(replace(CONFIG, trained_on=TrainedOn(conditions=("seconds",), given=True)))
    config = MeanFlowConfig(distill=True, path_steps=3, keep_patterns=patterns)
    objective = MeanFlowObjective(config, CONFIG)
    objective.prepare(model)
    noisy = objective.draw(model, latent_batch(), 0, seed())
    noisy = replace(noisy, drawn=replace(noisy.drawn, spans=objective.draw_spans(noisy.drawn.values, seed())))
    found = objective._mean_along_path(model, noisy)
    for item in range(4):
        x, t, span = noisy.latents[item : item + 1], float(noisy.drawn.values[item]), float(noisy.drawn.spans[item])
        kept = None if noisy.kept is None else noisy.kept[item : item + 1]
        mask = noisy.mask[item : item + 1]

        def velocity(x: Tensor, at: float, kept: Any = kept, mask: Any = mask) -> Tensor:
            times = torch.full((1, 6), at) if kept is None else torch.where(kept, 0.0, at)
            with torch.no_grad():
                made: Tensor = objective.teacher(x, FrameTimes.of(times), conditions=ASKED_ONE, mask=mask)
            return made if kept is None else made.masked_fill(kept[..., None], 0.0)

        end = x
        for number in range(3):
            end = runge_kutta_step("midpoint", velocity, end, t - number * span / 3, t - (number + 1) * span / 3)
        torch.testing.assert_close((x - span * found[item : item + 1])[mask], end[mask], atol=1e-4, rtol=1e-4)


def test_padding_has_no_effect_even_where_it_is_not_a_number() -> None:
    model, items = random_model(), latent_batch()
    objective = MeanFlowObjective(MeanFlowConfig(), CONFIG)
    objective.prepare(model)
    loss, _ = objective(model, items, step=0, generator=seed())
    assert items.latents is not None
    assert items.latent_mask is not None
    broken = items.latents.masked_fill(~items.latent_mask[..., None], float("nan"))
    assert loss == objective(model, replace(items, latents=broken), step=0, generator=seed())[0]


def test_one_step_is_the_average_velocity_and_the_default_solver_is_the_trained_one() -> None:
    model = random_model()
    model.give_average_velocity()
    nn.init.normal_(model.from_span[-1].weight, std=0.3)
    conditions = Conditions.of(["", ""], 1.0)
    steps: list[int] = []
    made = sample(model, conditions, [60, 60], callback=lambda done, of: steps.append(of))
    assert steps == [4] * 4
    chosen = sample(model, conditions, [60, 60], solver="mean_flow", num_inference_steps=4)
    assert made.latents is not None
    assert torch.equal(made.latents, chosen.latents)
    other = sample(model, conditions, [60, 60], solver="midpoint", num_inference_steps=4)
    assert (made.latents - other.latents).abs().max() > 1e-3
    guided = sample(model, conditions, [60, 60], guidance_scale=3.0)
    assert (made.latents - guided.latents).abs().max() > 1e-3


def test_one_step_of_the_exact_flow_is_the_data() -> None:
    class Exact(DiffusionTransformer):
        forward = PointFlow.forward

    made = sample(Exact(replace(CONFIG, average_velocity=True)), ASKED, [60, 60], num_inference_steps=1).latents
    mean, std = torch.tensor(LATENT_BINDING.latent_mean), torch.tensor(LATENT_BINDING.latent_std)
    torch.testing.assert_close(made, (0.5 * std + mean).expand(2, 6, 3))


def test_chunk_causal_blocks_learn_and_stream() -> None:
    config = replace(CONFIG, attention="chunk_causal", past_blocks=2)
    model = random_model(config)
    objective = MeanFlowObjective(MeanFlowConfig(derivative="exact"), config)
    objective.prepare(model)
    loss, _ = objective(model.train(), latent_batch(), step=0, generator=seed())
    loss.backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]
    model.eval()
    whole = sample(model, ASKED, [80, 80]).latents
    assert whole is not None
    stream = model.open_stream(ASKED, generator=seed())
    torch.testing.assert_close(torch.cat([stream.next_block() for _ in range(4)], 1), whole, atol=0, rtol=0)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trained with objective\.kind=mean_flow"):
        sample(random_model(), ASKED, [60, 60], solver="mean_flow")
    with pytest.raises(ValueError, match="gives no average velocity"):
        random_model()(torch.zeros(2, 6, 3), FrameTimes.of(torch.ones(2), torch.ones(2)), conditions=ASKED)
    with pytest.raises(ValueError, match="would undo"):
        RectifiedFlowObjective(RectifiedFlowConfig(), replace(CONFIG, average_velocity=True))
    fresh = replace(CONFIG, trained_on=TrainedOn())
    with pytest.raises(ValueError, match="learns from a trained generator"):
        MeanFlowObjective(MeanFlowConfig(distill=True), fresh).prepare(DiffusionTransformer(fresh))
    pytest.importorskip("peft")
    adapted = random_model()
    add_adapter(adapted, AdapterConfig(rank=2))
    with pytest.raises(ValueError, match="an adapter does not hold"):
        MeanFlowObjective(MeanFlowConfig(), CONFIG).prepare(adapted)


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval_share": 1.5},
        {"guidance_scale": 0.0},
        {"difference_step": 0.5},
        {"error_power": -1.0},
        {"path_steps": 2},
    ],
)
def test_wrong_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MeanFlowConfig(**wrong)


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="mean_flow"):
        DiffusionTransformer.objective_class("meanflow")
