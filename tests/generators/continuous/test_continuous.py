"""Continuous autoregression: causality, streams, given starts, what is learned, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, LATENT_BINDING
from latent_batches import MEAN, STD, latent_batch, random_weights, seed
from sampling import sample
from torch import Tensor, nn

from latentune.core.config import ConfigError, build_config, config_to_dict
from latentune.generators.base import TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.continuous import ChunkFlowConfig, ChunkFlowObjective, ContinuousAR, ContinuousARConfig
from latentune.generators.given import Given
from latentune.generators.load import load_generator
from latentune.tokenizers.base import Encoded

CONFIG = ContinuousARConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    head_width=16,
    head_depth=2,
    recent_chunks=2,
    max_chunks=16,
    conditioning=CONDITIONING,
)
ASKED = Conditions.of(["piano", "a"], [1.0, 2.0], ["rock", None])


def noise(*shape: int, value: int = 2) -> Tensor:
    return torch.randn(shape, generator=seed(value))


def random_model(config: ContinuousARConfig = CONFIG) -> ContinuousAR:
    """With every zero-initialised branch switched on."""
    return random_weights(ContinuousAR(config))


@torch.no_grad()
def velocity(model: ContinuousAR, chunks: Tensor, noisy: Tensor, **options: Any) -> Tensor:
    t = torch.linspace(0.1, 0.9, noisy[..., 0].numel()).view(noisy.shape[:3])
    made: Tensor = model(options.pop("past", chunks), chunks, noisy, t, conditions=ASKED, **options)
    return made


def test_a_chunk_depends_on_those_before_it_alone_and_each_draw_on_itself() -> None:
    model, chunks, noisy = random_model(), noise(2, 7, 6), noise(2, 7, 3, 6, value=3)
    base = velocity(model, chunks, noisy)
    changed = chunks.clone()
    changed[:, 4] += 1.0
    moved = (velocity(model, changed, noisy) - base).abs().amax((2, 3))
    assert moved[:, :5].max() == 0
    assert moved[:, 5:].min() > 1e-4
    other = noisy.clone()
    other[:, 2, 1] += 1.0
    moved = (velocity(model, chunks, other) - base).abs().amax(3) > 1e-5
    assert moved[:, 2, 1].all()
    assert moved.sum() == 2


def test_the_trunk_and_the_recent_chunks_both_reach_the_head() -> None:
    model, chunks, noisy = random_model(), noise(2, 7, 6), noise(2, 7, 1, 6, value=3)
    base = velocity(model, chunks, noisy)
    far = chunks.clone()
    far[:, 0] += 1.0
    assert (velocity(model, chunks, noisy, past=far) - base).abs().amax((2, 3))[:, 1:].min() > 1e-5
    moved = (velocity(model, far, noisy, past=chunks) - base).abs().amax((2, 3))
    assert moved[:, 1:3].min() > 1e-5  # two recent chunks
    assert moved[:, 3:].max() == 0


def test_each_condition_matters() -> None:
    model, chunks, noisy = random_model(), noise(2, 4, 6), noise(2, 4, 1, 6, value=3)
    t = torch.full((2, 4, 1), 0.5)
    base = model(chunks, chunks, noisy, t, conditions=ASKED)
    changes = {"text": ["violin", "a"], "label": [None, None], "seconds": [(0.0, 5.0), (0.0, 2.0)]}
    for name, value in changes.items():
        moved = model(chunks, chunks, noisy, t, conditions=ASKED.replaced(**{name: value})) - base
        assert moved[0].abs().max() > 1e-4, name
        assert moved[1].abs().max() < 1e-5, name


def test_sampling_step_by_step_is_what_the_whole_sequence_says() -> None:
    model = random_model()
    steps = {"num_inference_steps": 1, "solver": "euler"}
    latents = sample(model, ASKED, [100, 100], temperature=0.0, **steps).latents
    assert latents is not None
    chunks = ((latents - MEAN) / STD).unflatten(1, (5, 2)).flatten(2)
    zeros = torch.zeros(2, 5, 1, 6)
    again = -model(chunks, chunks, zeros, torch.ones(2, 5, 1), conditions=ASKED).squeeze(2)
    torch.testing.assert_close(again, chunks, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_streamed_is_whole_bit_for_bit_in_any_blocks(guidance: float) -> None:
    model = random_model()
    whole = sample(model, ASKED, [400, 400], guidance_scale=guidance).latents
    options = model.make_sampling({"guidance_scale": guidance})
    assert whole is not None
    for sizes in ([20], [1] * 20, [3, 7, 10]):
        stream = model.open_stream(ASKED, sampling=options, generator=seed())
        assert torch.equal(torch.cat([stream.next_block(size) for size in sizes], 1), whole)
    assert (whole - sample(model, ASKED, [400, 400], guidance_scale=1.5).latents).abs().max() > 1e-3


def test_an_item_depends_neither_on_the_others_nor_on_its_length() -> None:
    model = random_model()
    together = sample(model, ASKED, [400, 60]).latents
    alone = sample(model, ASKED.rows([0]), [100]).latents
    assert together is not None
    assert alone is not None
    torch.testing.assert_close(alone[0], together[0, :10], atol=1e-5, rtol=1e-4)
    assert not together[1, 6:].any()
    assert together[1, :6].any()


def test_a_window_that_moves_on_sees_no_more_than_in_training() -> None:
    model = random_model(replace(CONFIG, trained_on=TrainedOn(crop_s=0.12)))  # 6 chunks of 20 ms
    longest = []
    forward = model.trunk.forward

    def watch(x: Tensor, seen: Tensor | None, caches: list[Any]) -> Tensor:
        made = forward(x, seen, caches)
        longest.append(len(caches[0]))
        return made

    model.trunk.forward = watch
    stream = model.open_stream(ASKED, generator=seed())
    for _ in range(30):
        stream.next_block(1)
    starts = 1 + 2 + 1  # global vector, text, BOS
    assert max(longest) == starts + 5
    assert stream.next_block().shape == (2, stream.block_samples // 10, 3)


def test_a_start_that_is_given_stays_bit_for_bit_and_is_heeded() -> None:
    model = random_model()
    latents = noise(2, 8, 3)
    encoded = Encoded(latents=latents, tokens=torch.zeros(2, 1, 1).long(), lengths_samples=torch.tensor([80, 80]))
    keep = torch.tensor([[True, True, False, False], [True, False, False, False]])
    made = sample(model, ASKED, [200, 200], given=Given(encoded=encoded, keep=keep)).latents
    assert made is not None
    assert torch.equal(made[0, :4], latents[0, :4])
    assert torch.equal(made[1, :2], latents[1, :2])
    free = sample(model, ASKED, [200, 200]).latents
    assert (made - free).abs()[0, 4:].max() > 1e-3
    # what the model itself made, given back to it, is continued in the same way
    own = Encoded(latents=free, tokens=torch.zeros(2, 1, 1).long(), lengths_samples=torch.tensor([200, 200]))
    again = sample(model, ASKED, [200, 200], given=Given(encoded=own, keep=torch.tensor([[True] * 4]))).latents
    torch.testing.assert_close(again, free, atol=1e-4, rtol=1e-4)


def test_conditions_of_a_stream_change_at_the_next_block() -> None:
    model = random_model()
    before, changed = (model.open_stream(ASKED, generator=seed()) for _ in range(2))
    assert torch.equal(before.next_block(2), changed.next_block(2))
    changed.conditions = ASKED.replaced(text=["violin", "a"])
    moved = (before.next_block(2) - changed.next_block(2)).abs().amax((1, 2))
    assert moved[0] > 1e-4
    assert moved[1] < 1e-5


def test_temperature_is_the_variance_of_the_noise() -> None:
    fresh = ContinuousAR(CONFIG).eval()  # its velocity is 0: what comes out is the noise
    latents = sample(fresh, ASKED, [320, 320], temperature=0.25).latents
    assert latents is not None
    spread = ((latents - MEAN) / STD).std()
    assert 0.4 < float(spread) < 0.6
    silent = sample(fresh, ASKED, [320, 320], temperature=0.0).latents
    torch.testing.assert_close(silent, MEAN.expand(2, 32, 3))


def test_padding_has_no_effect_even_where_it_is_not_a_number() -> None:
    model, items = random_model(), latent_batch()
    objective = ChunkFlowObjective(ChunkFlowConfig(), CONFIG)
    loss, _ = objective(model, items, step=0, generator=seed())
    assert items.latents is not None
    assert items.latent_mask is not None
    broken = items.latents.masked_fill(~items.latent_mask[..., None], float("nan"))
    assert loss == objective(model, replace(items, latents=broken), step=0, generator=seed())[0]


def test_the_loss_of_a_network_that_says_nothing_is_that_of_noise_and_data() -> None:
    class Silent(nn.Module):
        def forward(self, past: Tensor, chunks: Tensor, noisy: Tensor, t: Tensor, **rest: Any) -> Tensor:
            self.past, self.chunks = past, chunks
            return torch.zeros_like(noisy)

    silent, items = Silent(), latent_batch(200)
    loss, _ = ChunkFlowObjective(ChunkFlowConfig(head_batch=8), CONFIG)(silent, items, step=0, generator=seed())
    assert abs(float(loss) - 2.0) < 0.1
    assert 0.15 < (silent.past - silent.chunks)[1:].square().mean() < 0.45
    objective = ChunkFlowObjective(ChunkFlowConfig(past_noise=0.0), CONFIG)
    objective(silent, items, step=0, generator=seed())
    assert torch.equal(silent.past, silent.chunks)


def test_every_weight_gets_a_gradient() -> None:
    model = random_model().train()
    loss, _ = ChunkFlowObjective(ChunkFlowConfig(), CONFIG)(model, latent_batch(), step=0, generator=seed())
    loss.backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = random_model()
    model.save_pretrained(tmp_path)
    again = load_generator(tmp_path)
    assert isinstance(again, ContinuousAR)
    assert again.settings == CONFIG
    assert torch.equal(sample(again, ASKED, [60, 60]).latents, sample(model, ASKED, [60, 60]).latents)


def test_two_melodies_are_learned_and_continued() -> None:
    """Two sequences; after the first chunk, which says which it is, all others follow."""
    torch.manual_seed(0)
    plain = replace(
        CONFIG,
        conditioning=ConditioningConfig(width=4, conditioners={}),
        width=32,
        head_width=64,
        max_chunks=8,
    )
    model, data = ContinuousAR(plain), noise(2, 12, 3, value=11) * STD + MEAN
    objective = ChunkFlowObjective(ChunkFlowConfig(past_noise=0.1), plain)
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=5e-3), seed()
    for step in range(250):
        items = replace(latent_batch(8, 12), latents=data.repeat(4, 1, 1), latent_mask=None)
        loss, _ = objective(model, items, step=step, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    encoded = Encoded(latents=data, tokens=torch.zeros(2, 1, 1).long(), lengths_samples=torch.tensor([120, 120]))
    given = Given(encoded=encoded, keep=torch.tensor([[True] + [False] * 5]))
    made = sample(model, Conditions.of(["", ""], 1.0), [120, 120], given=given).latents
    assert made is not None
    error = ((made - data) / STD).square().mean((1, 2)).sqrt()
    apart = ((data[0] - data[1]) / STD).square().mean().sqrt()
    assert float(error.max()) < 0.35 * float(apart)


def test_wrong_requests_are_refused() -> None:
    model = random_model()
    encoded = Encoded(latents=noise(1, 8, 3), tokens=torch.zeros(1, 1, 1).long(), lengths_samples=torch.tensor([80]))
    with pytest.raises(ValueError, match="only the start of an item"):
        sample(model, ASKED, [200, 200], given=Given(encoded=encoded, keep=torch.tensor([[False, True]])))
    with pytest.raises(ValueError, match="cannot carry noise"):
        sample(model, ASKED, [200, 200], given=Given(encoded=encoded, keep=torch.tensor([[True]]), noise_level=0.5))
    wrong = replace(encoded, latents=torch.full((1, 8, 3), float("nan")))
    with pytest.raises(ValueError, match="NaN or inf"):
        sample(model, ASKED, [200, 200], given=Given(encoded=wrong, keep=torch.tensor([[True]])))
    other = replace(encoded, latents=noise(1, 8, 5))
    with pytest.raises(ValueError, match="another tokenizer"):
        sample(model, ASKED, [200, 200], given=Given(encoded=other, keep=torch.tensor([[True]])))
    with pytest.raises(ValueError, match="max_chunks"):
        velocity(model, noise(2, 17, 6), noise(2, 17, 1, 6))
    with pytest.raises(TypeError, match="did you mean 'temperature'"):
        model.make_sampling({"temprature": 1.0})
    with pytest.raises(ConfigError, match="temperature"):
        model.make_sampling({"temperature": 3.0})
    with pytest.raises(ConfigError, match="num_inference_steps"):
        model.make_sampling({"num_inference_steps": 0})


def test_wrong_batches_and_configs_are_refused() -> None:
    objective, items = ChunkFlowObjective(ChunkFlowConfig(), CONFIG), latent_batch()
    for message, value in {
        "has none": replace(items, latents=None),
        "another tokenizer": replace(items, latents=torch.zeros(4, 6, 5)),
        "no real latent frame": replace(items, latent_mask=torch.zeros(4, 6, dtype=torch.bool)),
    }.items():
        with pytest.raises(ValueError, match=message):
            objective(random_model(), value, step=0, generator=seed())
    for wrong in ({"head_batch": 0}, {"past_noise": 1.5}, {"logit_std": 0.0}, {"cond_drop_prob": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ChunkFlowConfig(**wrong)
    for wrong, message in (
        ({"heads": 3}, "heads 3 must divide width 16"),
        ({"depth": 0}, "must be positive"),
        ({"max_chunks": 1}, "max_chunks must be at least 2"),
        ({"binding": replace(LATENT_BINDING, latent_mean=(), latent_std=())}, "each of the 3 latent channels"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(CONFIG, **wrong)
    with pytest.raises(ConfigError, match="did you mean 'heads'"):
        build_config(ContinuousARConfig, {**config_to_dict(CONFIG), "head": 2})
