"""The rectified-flow objective: what it equals, what it ignores, and that it is learned."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING
from latent_batches import latent_batch, seed
from torch import Tensor, nn

from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.generators.parts.keep import KeepPatterns

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=32,
    depth=2,
    heads=2,
    conditioning=ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}}),
)


class Recorder(nn.Module):
    """Answers with a fixed velocity and keeps what it was asked."""

    def __init__(self, answer: float = 0.0):
        super().__init__()
        self.answer = answer

    def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
        self.noisy, self.t, self.rest = noisy, t.each().squeeze(1), rest
        return torch.full_like(noisy, self.answer)


NOTHING = KeepPatterns(none=1, prefix=0, suffix=0, gap=0, gaps=0)
PREFIX = KeepPatterns(none=0, prefix=1, suffix=0, gap=0, gaps=0)


def test_the_path_is_straight_and_the_loss_is_the_masked_error() -> None:
    config = RectifiedFlowConfig(keep_patterns=NOTHING)
    objective, model, items = RectifiedFlowObjective(config, CONFIG), Recorder(), latent_batch()
    loss, metrics = objective(model, items, step=0, generator=seed())
    assert items.latents is not None
    assert items.latent_mask is not None
    clean = (items.latents - torch.tensor(LATENT_BINDING.latent_mean)) / torch.tensor(LATENT_BINDING.latent_std)
    clean = clean * items.latent_mask[..., None]
    noise = (model.noisy - (1 - model.t)[:, None, None] * clean) / model.t[:, None, None]
    torch.testing.assert_close(loss, (noise - clean)[items.latent_mask].square().mean(), atol=1e-3, rtol=1e-3)
    assert sorted(metrics) == ["loss_t0.00_0.25", "loss_t0.25_0.50", "loss_t0.50_0.75", "loss_t0.75_1.00"]
    assert model.rest["mask"] is items.latent_mask


def test_given_frames_are_clean_at_time_zero_and_have_no_loss() -> None:
    objective, model, items = (
        RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=PREFIX), CONFIG),
        Recorder(),
        latent_batch(),
    )
    loss, _ = objective(model, items, step=0, generator=seed())
    assert items.latents is not None
    assert items.latent_mask is not None
    mean, std = torch.tensor(LATENT_BINDING.latent_mean), torch.tensor(LATENT_BINDING.latent_std)
    clean = ((items.latents - mean) / std) * items.latent_mask[..., None]
    given = model.t == 0
    assert given[0].sum() == 0  # one chunk: nothing to continue
    assert given[1:, :2].all()
    assert not given[:, 4:].any()
    assert torch.equal(model.noisy[given], clean[given])
    noise = (model.noisy - (1 - model.t)[..., None] * clean) / model.t[..., None]
    learned = items.latent_mask & ~given
    pairs = zip(noise - clean, learned, strict=True)
    per_item = torch.stack([error[frames].square().mean() for error, frames in pairs])
    lengths = items.latent_mask.sum(1)
    torch.testing.assert_close(loss, (per_item * lengths).sum() / lengths.sum(), atol=1e-3, rtol=1e-3)
    assert objective.trains_given
    assert not RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=NOTHING), CONFIG).trains_given


def test_padding_has_no_effect_even_where_it_is_not_a_number() -> None:
    objective, items = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG), latent_batch()
    loss, _ = objective(Recorder(0.5), items, step=0, generator=seed())
    assert items.latents is not None
    assert items.latent_mask is not None
    broken = items.latents.masked_fill(~items.latent_mask[..., None], float("nan"))
    again, _ = objective(Recorder(0.5), replace(items, latents=broken), step=0, generator=seed())
    assert loss == again


def test_the_same_seed_draws_the_same() -> None:
    objective, items = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG), latent_batch()
    losses = [objective(Recorder(), items, step=0, generator=seed(s))[0] for s in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("distribution", ["uniform", "logit-normal"])
def test_times_have_the_distribution_and_cover_it_in_each_latent_batch(distribution: Any) -> None:
    config = RectifiedFlowConfig(time_distribution=distribution, logit_mean=0.5, logit_std=0.7)
    objective = RectifiedFlowObjective(config, CONFIG)
    t = objective.draw_times(torch.zeros(1000), seed()).sort().values
    u = (torch.arange(1000) + 0.5) / 1000
    wanted = u if distribution == "uniform" else torch.sigmoid(0.5 + 0.7 * torch.special.ndtri(u))
    torch.testing.assert_close(t[5:-5], wanted[5:-5], atol=5e-3, rtol=0)  # tails are steep
    firsts = torch.stack([objective.draw_times(torch.zeros(4), seed(s))[0] for s in range(300)]).sort().values
    assert (firsts - wanted[torch.linspace(0, 999, 300).long()]).abs().max() < 0.15  # also one item over many batches


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_conditions_are_dropped_as_often_as_asked(probability: float) -> None:
    objective = RectifiedFlowObjective(RectifiedFlowConfig(cond_drop_prob=probability), CONFIG)
    model = Recorder()
    objective(model, latent_batch(2000, 2), step=0, generator=seed())
    assert abs(model.rest["drop_mask"].float().mean() - probability) < 0.05


def test_a_data_set_of_one_item_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    model = DiffusionTransformer(CONFIG)
    items = latent_batch(8)
    assert items.latents is not None
    items.latents[:] = items.latents[1].clone()
    objective, generator = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG), seed()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for step in range(150):
        loss, _ = objective(model, items, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[:5]) / 5 > 1.3
    assert sum(losses[-20:]) / 20 < 0.3


def test_wrong_batches_are_refused() -> None:
    objective, items = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG), latent_batch()
    wrong = {
        "has none": replace(items, latents=None),
        "another tokenizer": replace(items, latents=torch.zeros(4, 6, 5)),
        "no real latent frame": replace(items, latent_mask=torch.zeros(4, 6, dtype=torch.bool)),
    }
    for message, value in wrong.items():
        with pytest.raises(ValueError, match=message):
            objective(Recorder(), value, step=0, generator=seed())


def test_a_nan_in_the_data_reaches_the_loss_so_that_the_run_stops() -> None:
    items = latent_batch()
    assert items.latents is not None
    items.latents[1, 0, 0] = float("nan")
    loss, _ = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG)(Recorder(), items, step=0, generator=seed())
    assert loss.isnan()


@pytest.mark.parametrize("wrong", [{"cond_drop_prob": 1.5}, {"logit_std": 0.0}])
def test_wrong_configs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RectifiedFlowConfig(**wrong)
