"""Adversarial post-training: whose gradients reach what, what the critic sees, and steps that get sharper."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from fake_binding import LATENT_BINDING
from latent_batches import latent_batch, random_weights, seed
from sampling import sample
from torch import Tensor

from latentune.generators.adapters import AdapterConfig, add_adapter
from latentune.generators.base import LatentBatch, TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    AdversarialFlowConfig,
    AdversarialFlowObjective,
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.parts.keep import KeepPatterns
from latentune.tokenizers.base import Encoded

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=32,
    depth=2,
    heads=2,
    max_frames=32,
    conditioning=ConditioningConfig(width=8, conditioners={"text": {"kind": "bytes", "num_tokens": 2}}),
    trained_on=TrainedOn(conditions=("text",), given=True),
)
NOTHING = KeepPatterns(none=1, prefix=0, suffix=0, gap=0, gaps=0)
PREFIX = KeepPatterns(none=0, prefix=1, suffix=0, gap=0, gaps=0)
ASKED = Conditions.of(["a", "b"], 1.0)
PATTERN = torch.tensor([1.0, -1.0, 1.0])  # the toy's examples are this and its opposite, with a little noise


def prepared(config: DiffusionTransformerConfig = CONFIG, **options: Any) -> tuple[Any, AdversarialFlowObjective]:
    model: Any = random_weights(DiffusionTransformer(config), 0.2)
    objective = AdversarialFlowObjective(AdversarialFlowConfig(**options), config)
    objective.prepare(model)
    return model, objective


def items(size: int = 4) -> LatentBatch:
    texts = ["a", "b", "c", "d"][:size]
    return replace(latent_batch(size), conditions=Conditions.of(texts, 3.0))


def without_gradient(module: torch.nn.Module) -> list[str]:
    return [name for name, weight in module.named_parameters() if weight.grad is None]


@pytest.mark.parametrize("config", [CONFIG, replace(CONFIG, attention="chunk_causal", past_blocks=2)])
def test_each_loss_reaches_every_weight_of_its_own_network_alone(config: DiffusionTransformerConfig) -> None:
    model, objective = prepared(config)
    assert objective.critic is not None
    critic = objective.critic.train()
    loss, _, pair = objective.model_loss(model.train(), items(), step=0, generator=seed())
    loss.backward()
    assert not without_gradient(model)
    assert len(without_gradient(critic)) == len(list(critic.parameters()))
    model.zero_grad()
    loss, metrics = objective.critic_loss(critic, pair)
    loss.backward()
    assert not without_gradient(critic)
    assert len(without_gradient(model)) == len(list(model.parameters()))
    assert set(metrics) == {"critic_relativistic", "critic_contrastive"}


def test_the_critic_starts_as_the_first_blocks_of_the_generator() -> None:
    model, objective = prepared(critic_blocks=1)
    assert objective.critic is not None
    mine, theirs = objective.critic.network.state_dict(), model.state_dict()
    shared = [name for name in mine if not name.startswith("to_velocity")]
    assert all(torch.equal(mine[name], theirs[name]) for name in shared)
    assert {name for name in mine if name.startswith("blocks.")} == {n for n in theirs if n.startswith("blocks.0.")}
    with torch.no_grad():
        model.blocks[0].attention.to_out.weight.zero_()
    assert bool(mine["blocks.0.attention.to_out.weight"].any())  # a copy


def test_estimates_lie_on_one_step_to_the_data_and_given_frames_are_the_examples() -> None:
    model, objective = prepared(keep_patterns=PREFIX)
    _, _, pair = objective.model_loss(model, items(), step=0, generator=seed())
    assert pair.noisy.kept is not None
    given = pair.noisy.kept | ~pair.noisy.mask
    assert bool(given.any())
    assert not bool(given.all())
    assert torch.equal(pair.real[given], pair.fake[given])
    with torch.no_grad():
        velocity = model(pair.noisy.latents, pair.noisy.times, **pair.noisy.inputs)
    estimate = pair.noisy.latents - pair.noisy.times.each()[..., None] * velocity
    difference = (estimate - pair.noisy.clean) * (1.0 - pair.t[:, None, None])
    torch.testing.assert_close((pair.fake - pair.real)[~given], difference[~given], atol=1e-5, rtol=1e-5)


def test_an_estimate_that_is_the_example_cannot_be_distinguished() -> None:
    model, objective = prepared(contrastive_weight=0.0)
    _, _, pair = objective.model_loss(model, items(), step=0, generator=seed())
    assert objective.critic is not None
    loss, metrics = objective.critic_loss(objective.critic, replace(pair, fake=pair.real))
    torch.testing.assert_close(loss, torch.tensor(2.0).log())
    assert set(metrics) == {"critic_relativistic"}


def test_the_critic_reads_examples_under_the_conditions_of_others() -> None:
    model, objective = prepared()
    _, _, pair = objective.model_loss(model, items(3), step=0, generator=seed())
    calls: list[tuple[Tensor, Tensor]] = []

    def critic(latents: Tensor, t: Tensor, order: Tensor, inputs: dict[str, Any]) -> Tensor:
        calls.append((latents, order))
        return torch.zeros(latents.shape[:2])

    objective.critic_loss(critic, pair)  # type: ignore[arg-type]
    latents, order = calls[0]
    assert order.tolist() == [0, 1, 2, 0, 1, 2, 2, 0, 1]
    assert torch.equal(latents, torch.cat([pair.real, pair.fake, pair.real]))
    assert objective.critic is not None
    logits = objective.critic(pair.real, pair.t, torch.tensor([0, 1, 2]), pair.noisy.inputs)
    exchanged = objective.critic(pair.real, pair.t, torch.tensor([0, 2, 1]), pair.noisy.inputs)
    assert torch.equal(logits[0], exchanged[0])
    assert (logits[1:] - exchanged[1:]).abs().max() > 1e-3


def test_padding_has_no_effect_even_where_it_is_not_a_number() -> None:
    model, objective = prepared()
    batch = items()
    assert batch.latents is not None
    assert batch.latent_mask is not None
    broken = replace(batch, latents=batch.latents.masked_fill(~batch.latent_mask[..., None], float("nan")))
    assert objective.critic is not None
    losses = []
    for part in (batch, broken):
        loss, _, pair = objective.model_loss(model, part, step=0, generator=seed())
        losses.append(loss + objective.critic_loss(objective.critic, pair)[0])
    assert torch.equal(*losses)


def test_one_ping_pong_step_is_the_estimate_and_the_default_solver_is_the_trained_one() -> None:
    model, _ = prepared()
    steps: list[int] = []
    made = sample(model, ASKED, [60, 60], callback=lambda done, of: steps.append(of)).latents
    assert steps == [8] * 8
    assert made is not None
    assert torch.equal(made, sample(model, ASKED, [60, 60], solver="pingpong", num_inference_steps=8).latents)
    one = sample(model, ASKED, [60, 60], num_inference_steps=1).latents
    euler = sample(model, ASKED, [60, 60], num_inference_steps=1, solver="euler").latents
    assert one is not None
    assert euler is not None
    torch.testing.assert_close(one[:1], euler[:1])  # between items pingpong draws the seed of its later noise


@pytest.mark.parametrize("lengths", [[60, 60], [60, 100]])
def test_an_item_does_not_depend_on_those_after_it(lengths: list[int]) -> None:
    model, _ = prepared()
    together = sample(model, ASKED, lengths, num_inference_steps=3).latents
    alone = sample(model, ASKED.rows([0]), lengths[:1], num_inference_steps=3).latents
    assert together is not None
    torch.testing.assert_close(together[:1, :6], alone, atol=1e-5, rtol=1e-5)
    other = sample(model, ASKED, lengths, num_inference_steps=3, seed=1).latents
    assert (together - other).abs().max() > 1e-2


def test_given_chunks_come_out_bit_for_bit_and_change_the_rest() -> None:
    model, _ = prepared()
    tokens = torch.zeros(2, 8, 1, dtype=torch.long)
    latents = torch.randn(2, 4, 3, generator=seed(4))
    encoded = Encoded(latents=latents, tokens=tokens, lengths_samples=torch.tensor([40, 40]))
    made = sample(model, ASKED, [100, 100], prefix=encoded, num_inference_steps=4).latents
    free = sample(model, ASKED, [100, 100], num_inference_steps=4).latents
    assert made is not None
    assert torch.equal(made[:, :2], latents[:, :2])  # the codec of the test has an overlap
    assert (made[:, 2:] - free[:, 2:]).abs().max() > 1e-3


def test_chunk_causal_blocks_stream_as_they_are_sampled() -> None:
    model, _ = prepared(replace(CONFIG, attention="chunk_causal", past_blocks=2))
    whole = sample(model, ASKED, [80, 80], num_inference_steps=2).latents
    options = model.make_sampling({"num_inference_steps": 2})
    stream = model.open_stream(ASKED, sampling=options, generator=seed())
    torch.testing.assert_close(torch.cat([stream.next_block() for _ in range(4)], 1), whole, atol=0, rtol=0)


def toy_batch(size: int, generator: torch.Generator) -> LatentBatch:
    signs = 2.0 * torch.randint(2, (size, 1, 1), generator=generator) - 1.0
    return latent_batch(size, 4, signs * PATTERN + 0.1 * torch.randn(size, 4, 3, generator=generator))


def distance_of_one_step(model: DiffusionTransformer) -> float:
    """Root mean square distance of one-step samples to the nearer of both patterns."""
    made = sample(model, Conditions.of([""] * 64, 3.0), [40] * 64, num_inference_steps=1).latents
    assert made is not None
    normal = (made - torch.tensor(LATENT_BINDING.latent_mean)) / torch.tensor(LATENT_BINDING.latent_std)
    both = torch.stack([(normal - sign * PATTERN).square().mean((1, 2)) for sign in (1, -1)])
    return float(both.amin(0).mean().sqrt())


@pytest.mark.slow
def test_one_step_becomes_sharper_than_what_it_starts_from() -> None:
    torch.manual_seed(0)
    config = replace(CONFIG, conditioning=ConditioningConfig(width=8, conditioners={}))
    made: Any = DiffusionTransformer(config)
    model, generator = made, seed()
    flow = RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=NOTHING), config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(200):
        loss, _ = flow(model, toy_batch(32, generator), step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before = distance_of_one_step(model)
    objective = AdversarialFlowObjective(AdversarialFlowConfig(keep_patterns=NOTHING), config)
    objective.prepare(model)
    assert objective.critic is not None
    networks = model, objective.critic
    optimizers = [torch.optim.AdamW(network.parameters(), lr=1e-3, betas=(0.0, 0.99)) for network in networks]
    for step in range(300):
        loss, _, pair = objective.model_loss(model, toy_batch(32, generator), step=step, generator=generator)
        for optimizer, term in zip(optimizers, (loss, objective.critic_loss(objective.critic, pair)[0]), strict=True):
            optimizer.zero_grad()
            term.backward()
            optimizer.step()
    assert distance_of_one_step(model) < 0.75 * before


def test_what_does_not_fit_is_refused() -> None:
    plain: Any = random_weights(DiffusionTransformer(CONFIG))
    with pytest.raises(ValueError, match=r"trained with objective\.kind=adversarial"):
        sample(plain, ASKED, [60, 60], solver="pingpong")
    with pytest.raises(ValueError, match=r"would undo what objective\.kind=adversarial trained"):
        RectifiedFlowObjective(RectifiedFlowConfig(), replace(CONFIG, one_step=True))
    with pytest.raises(ValueError, match="would undo what"):
        AdversarialFlowObjective(AdversarialFlowConfig(), replace(CONFIG, average_velocity=True))
    with pytest.raises(ValueError, match="more than the 2 blocks"):
        AdversarialFlowObjective(AdversarialFlowConfig(critic_blocks=3), CONFIG)
    fresh = replace(CONFIG, trained_on=TrainedOn())
    objective, untrained = (
        AdversarialFlowObjective(AdversarialFlowConfig(), fresh),
        cast(Any, DiffusionTransformer(fresh)),
    )
    with pytest.raises(ValueError, match=r"name it in model\.init_from"):
        objective.prepare(untrained)
    with pytest.raises(ValueError, match="call prepare"):
        objective.model_loss(plain, items(), step=0, generator=seed())
    model, objective = prepared()
    _, _, pair = objective.model_loss(model, items(1), step=0, generator=seed())
    assert objective.critic is not None
    with pytest.raises(ValueError, match="at least 2 examples"):
        objective.critic_loss(objective.critic, pair)
    pytest.importorskip("peft")
    add_adapter(plain, AdapterConfig(rank=2))
    with pytest.raises(ValueError, match="without an adapter"):
        AdversarialFlowObjective(AdversarialFlowConfig(), CONFIG).prepare(plain)


@pytest.mark.parametrize("wrong", [{"critic_blocks": 0}, {"critic_logit_std": 0.0}, {"contrastive_weight": -1.0}])
def test_wrong_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        AdversarialFlowConfig(**wrong)
