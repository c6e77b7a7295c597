"""Chunk-causal attention: a past in training and in a cache, streams and whole items, windows that move on."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING
from sampling import sample
from torch import Tensor

from latentune.generators.base import LatentBatch, TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.diffusion import (
    DiffusionTransformer,
    DiffusionTransformerConfig,
    RectifiedFlowConfig,
    RectifiedFlowObjective,
)
from latentune.generators.diffusion.frame_times import FrameTimes
from latentune.generators.diffusion.past import FrameCache, Past
from latentune.generators.given import Given
from latentune.generators.parts.keep import KeepPatterns
from latentune.tokenizers.base import Encoded

CONFIG = DiffusionTransformerConfig(
    binding=LATENT_BINDING,
    width=16,
    depth=2,
    heads=2,
    max_frames=16,
    attention="chunk_causal",
    block_chunks=2,
    conditioning=ConditioningConfig(
        width=8,
        conditioners={
            "text": {"kind": "bytes", "layers": 1, "heads": 2, "num_tokens": 2},
            "seconds": {"kind": "seconds"},
        },
    ),
    trained_on=TrainedOn(given=True),
)
BLOCK = 4  # frames; 40 samples
WINDOW = 3  # blocks before its own that a block sees
ASKED = Conditions.of(["piano", "a"], [1.0, 2.0])
CLEAN = FrameTimes(torch.zeros(2, 1))


def random_model(**changes: Any) -> DiffusionTransformer:
    generator = torch.Generator().manual_seed(1)
    model = DiffusionTransformer(replace(CONFIG, **changes)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * (0.3 if weight.ndim > 1 else 1.0))
    return model


def noise(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cached_velocity(model: DiffusionTransformer, clean: Tensor, noisy: Tensor, t: Tensor) -> Tensor:
    """Block after block, the clean frames of each in a cache."""
    cache = FrameCache(model.settings, len(clean), torch.float32, torch.device("cpu"))
    out = []
    for start in range(0, clean.shape[1], BLOCK):
        part = slice(start, start + BLOCK)
        cache.move_on()
        out.append(model(noisy[:, part], t[:, part], conditions=ASKED, cache=cache))
        model(clean[:, part], torch.zeros(len(clean)), conditions=ASKED, cache=cache, store=True)
    return torch.cat(out, 1)


@torch.no_grad()
@pytest.mark.parametrize("past_blocks", [None, 1])
def test_what_is_trained_in_one_pass_is_what_is_sampled_block_after_block(past_blocks: int | None) -> None:
    model = random_model(past_blocks=past_blocks)
    clean, noisy, t = noise(2, 14, 3), noise(2, 14, 3, seed=3), torch.rand(2, 14)
    together = model(noisy, t, conditions=ASKED, past=Past(latents=clean, t=CLEAN))
    torch.testing.assert_close(together, cached_velocity(model, clean, noisy, t), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_block_sees_its_own_noise_and_the_clean_past_in_its_window_and_nothing_else() -> None:
    model = random_model(past_blocks=1, depth=1)
    clean, noisy, t = noise(2, 16, 3), noise(2, 16, 3, seed=3), torch.full((2, 16), 0.5)

    def moved(which: str, block: int) -> list[bool]:
        changed = {"clean": clean.clone(), "noisy": noisy.clone()}
        changed[which][:, block * BLOCK] += 5
        after = model(changed["noisy"], t, conditions=ASKED, past=Past(latents=changed["clean"], t=CLEAN))
        before = model(noisy, t, conditions=ASKED, past=Past(latents=clean, t=CLEAN))
        return [bool(part.abs().max() > 1e-5) for part in (after - before).split(BLOCK, 1)]

    assert moved("noisy", 1) == [False, True, False, False]
    assert moved("clean", 1) == [False, False, True, False]
    assert moved("clean", 3) == [False] * 4


@torch.no_grad()
def test_padding_has_no_effect_and_autocast_runs() -> None:
    model = random_model()
    clean, noisy, t = noise(2, 8, 3), noise(2, 8, 3, seed=3), torch.full((2, 8), 0.5)
    mask = torch.arange(8) < torch.tensor([[8], [6]])
    base = model(noisy, t, conditions=ASKED, mask=mask, past=Past(latents=clean, t=CLEAN))
    loud = clean.masked_fill(~mask[..., None], 50.0)
    other = model(noisy, t, conditions=ASKED, mask=mask, past=Past(latents=loud, t=CLEAN))
    torch.testing.assert_close(base[mask], other[mask])
    with torch.autocast("cpu", torch.bfloat16):
        half = model(noisy, t, conditions=ASKED, mask=mask, past=Past(latents=clean, t=CLEAN))
    assert (half.float() - base)[mask].abs().mean() < 0.1 * base[mask].abs().mean()


def streamed(model: DiffusionTransformer, blocks: int, **options: Any) -> Tensor:
    asked = Conditions.of(["piano"], 1.0) if "text" in model.condition_encoder.parts else Conditions.of([""], 1.0)
    stream = model.open_stream(
        asked,
        sampling=model.make_sampling({"num_inference_steps": 3, **options}),
        generator=torch.Generator().manual_seed(5),
    )
    return torch.cat([stream.next_block() for _ in range(blocks)], 1)


def whole(model: DiffusionTransformer, samples: int, **options: Any) -> Tensor:
    latents = sample(
        model, Conditions.of(["piano"], 1.0), [samples], seed=5, **{"num_inference_steps": 3, **options}
    ).latents
    assert latents is not None
    return latents


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 2.0}, {"past_noise": 0.2}])
def test_streamed_is_whole_bit_for_bit_also_when_the_window_has_moved_on(options: dict[str, Any]) -> None:
    model = random_model()
    assert torch.equal(streamed(model, 9, **options), whole(model, 9 * 40, **options))
    assert torch.equal(streamed(model, 2, **options), whole(model, 100, **options)[:, :8])  # a shorter last block


@torch.no_grad()
def test_blocks_are_those_of_recomputing_the_window_without_a_cache() -> None:
    """One layer: there the window alone decides what a cached key holds."""
    model = random_model(depth=1)
    latents = whole(model, 8 * 40, num_inference_steps=1, solver="euler")
    normal = (latents - torch.tensor(LATENT_BINDING.latent_mean)) / torch.tensor(LATENT_BINDING.latent_std)
    from latentune.core.random import keyed_generator

    generator = torch.Generator().manual_seed(5)
    seed = int(torch.randint(2**62, (), generator=generator))
    for block in range(4):  # before the start of the item moves on
        start = torch.randn(BLOCK, 3, generator=keyed_generator(seed, "noise", block))[None]
        noisy = torch.cat([normal[:, : block * BLOCK], start], 1)
        past = Past(latents=noisy, t=FrameTimes(torch.zeros(1, 1)))
        velocity = model(noisy, torch.ones(1), conditions=Conditions.of(["piano"], 1.0), past=past)
        end = start - velocity[:, -BLOCK:]
        torch.testing.assert_close(end, normal[:, block * BLOCK : (block + 1) * BLOCK], atol=1e-4, rtol=1e-4)


def test_the_items_of_a_batch_do_not_depend_on_each_other_nor_on_their_lengths() -> None:
    model = random_model()
    together = sample(model, Conditions.of(["a", "b"], 1.0), [200, 70], num_inference_steps=2, guidance_scale=2.0)
    generator = torch.Generator().manual_seed(0)
    assert together.latents is not None
    assert not together.latents[1, 8:].any()
    for item, (text, length, frames) in enumerate([("a", 200, 20), ("b", 70, 8)]):
        alone = sample(
            model,
            Conditions.of([text], 1.0),
            [length],
            seed=generator,
            num_inference_steps=2,
            guidance_scale=2.0,
        ).latents
        torch.testing.assert_close(together.latents[item : item + 1, :frames], alone, atol=1e-4, rtol=1e-4)


def test_a_thousand_chunks_run_in_constant_memory() -> None:
    plain = ConditioningConfig(width=8, conditioners={"seconds": {"kind": "seconds"}})
    model = random_model(depth=1, conditioning=plain, block_chunks=10, max_frames=80)
    size = 20  # frames of a block
    stream: Any = model.open_stream(
        Conditions.of([""], 1.0),
        sampling=model.make_sampling({"num_inference_steps": 1}),
        generator=torch.Generator().manual_seed(0),
    )
    sizes = set()
    for block in range(100):
        latents = stream.next_block()
        assert torch.isfinite(latents).all()
        if block > 2 * WINDOW:
            layer = stream._cache.layers[0]
            sizes.add((layer.capacity, len(layer) <= WINDOW * size, len(stream._recent), layer.keys.data_ptr() != 0))
    assert sizes == {((2 * WINDOW + 1) * size, True, WINDOW, True)}
    assert stream._cache.position == 99 * size


def test_positions_that_have_grown_too_high_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from latentune.generators.diffusion import rollout

    model = random_model(depth=1, conditioning=ConditioningConfig(width=8, conditioners={}))
    base = streamed(model, 12)
    monkeypatch.setattr(rollout, "MOST_FRAMES", 10 * BLOCK)
    again = streamed(model, 12)
    assert torch.equal(base[:, : 9 * BLOCK], again[:, : 9 * BLOCK])
    torch.testing.assert_close(base, again, atol=1e-3, rtol=1e-3)  # one layer: only positions differ


def test_changes_take_effect_at_the_next_block() -> None:
    model = random_model()

    def blocks(change: Any) -> list[Tensor]:
        stream = model.open_stream(
            Conditions.of(["piano"], 1.0),
            sampling=model.make_sampling({"num_inference_steps": 2}),
            generator=torch.Generator().manual_seed(0),
        )
        out = []
        for block in range(6):
            if block == 3:
                change(stream)
            out.append(stream.next_block())
        return out

    base = blocks(lambda stream: None)
    changes = {
        "prompt": lambda stream: setattr(stream, "conditions", Conditions.of(["violin"], 1.0)),
        "guidance": lambda stream: setattr(stream, "sampling", replace(stream.sampling, guidance_scale=3.0)),
        "steps": lambda stream: setattr(stream, "sampling", replace(stream.sampling, num_inference_steps=5)),
    }
    for name, change in changes.items():
        changed = blocks(change)
        assert all(torch.equal(a, b) for a, b in zip(base[:3], changed[:3], strict=True)), name
        assert (base[3] - changed[3]).abs().max() > 1e-4, name
    wrong = model.open_stream(Conditions.of(["piano"], 1.0))
    wrong.conditions = Conditions.of(["piano"], 1.0, ["rock"])
    with pytest.raises(ValueError, match="made without label"):
        wrong.next_block()


def given(frames: int, keep: list[bool], level: float = 0.0) -> Given:
    encoded = Encoded(
        latents=noise(1, frames, 3, seed=9),
        tokens=torch.zeros(1, 2 * frames, 1, dtype=torch.int64),
        lengths_samples=torch.tensor([10 * frames]),
    )
    return Given(encoded=encoded, keep=torch.tensor([keep]), noise_level=level)


def test_a_prefix_that_ends_inside_a_block_is_kept_and_changes_what_follows() -> None:
    model = random_model()
    prefix = given(10, [True] * 5)
    options: dict[str, Any] = {"num_inference_steps": 2}
    latents = sample(model, Conditions.of([""], 1.0), [200], given=prefix, **options).latents
    free = sample(model, Conditions.of([""], 1.0), [200], **options).latents
    assert latents is not None
    assert free is not None
    assert torch.equal(latents[:, :10], prefix.encoded.latents)
    assert (latents - free)[:, 10:14].abs().min() > 1e-4
    varied = sample(model, Conditions.of([""], 1.0), [100], given=given(10, [True] * 5, 0.3), **options).latents
    assert varied is not None
    assert (varied - prefix.encoded.latents).abs().max() > 1e-3


def test_what_cannot_be_streamed_or_given_is_refused() -> None:
    model = random_model()
    for keep in ([False, False, True], [True, True, True, False, True]):
        with pytest.raises(ValueError, match="sees only the past"):
            sample(model, Conditions.of([""], 1.0), [200], given=given(10, keep))
    full = random_model(attention="full")
    with pytest.raises(ValueError, match="cannot stream: train one with"):
        full.open_stream(ASKED)
    with pytest.raises(ValueError, match="a past needs 'chunk_causal'"):
        full(noise(2, 8, 3), torch.ones(2), conditions=ASKED, past=Past(latents=noise(2, 8, 3), t=CLEAN))
    for wrong in ({"block_chunks": 0}, {"past_blocks": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            replace(CONFIG, **wrong)
    with pytest.raises(ValueError, match="must hold two blocks of 10 frames"):
        replace(CONFIG, block_chunks=5)
    with pytest.raises(ValueError, match="past_noise is for"):
        RectifiedFlowObjective(RectifiedFlowConfig(past_noise=0.1), replace(CONFIG, attention="full"))


def test_the_objective_hands_in_the_past_and_draws_a_time_and_a_pattern_for_each_block() -> None:
    class Recorder(torch.nn.Module):
        def forward(self, noisy: Tensor, t: FrameTimes, **rest: Any) -> Tensor:
            self.noisy, self.t, self.rest = noisy, t.each(), rest
            return torch.zeros_like(noisy)

    items = LatentBatch(
        latents=noise(3, 14, 3),
        latent_mask=torch.arange(14) < torch.tensor([[14], [14], [6]]),
        tokens=None,
        token_mask=None,
        conditions=Conditions.of([""] * 3, 1.0),
        ids=["a", "b", "c"],
    )
    model = Recorder()
    patterns = KeepPatterns(none=0, prefix=1, suffix=0, gap=0, gaps=0)
    objective = RectifiedFlowObjective(RectifiedFlowConfig(keep_patterns=patterns, past_noise=0.5), CONFIG)
    loss, metrics = objective(model, items, step=0, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(loss)
    assert any(torch.isfinite(value) for value in metrics.values())  # a bucket without a frame has no loss
    past = model.rest["past"]
    assert past.latents.shape == (3, 14, 3)
    assert 0.1 < past.t.each().max() < 0.5
    given_frames = model.t == 0
    assert given_frames[0].tolist() == ([True] * 2 + [False] * 2) * 3 + [False] * 2
    times = model.t[0][~given_frames[0]].unflatten(0, (-1, 2))
    assert torch.equal(times[:, 0], times[:, 1])
    assert len(times[:, 0].unique()) == 4
    clean = RectifiedFlowObjective(RectifiedFlowConfig(), CONFIG)
    clean(model, items, step=0, generator=torch.Generator().manual_seed(0))
    assert not model.rest["past"].t.each().any()


def test_every_weight_gets_a_gradient() -> None:
    model = DiffusionTransformer(CONFIG)
    past = Past(latents=noise(2, 8, 3), t=CLEAN)
    model(noise(2, 8, 3), torch.tensor([0.1, 0.9]), conditions=ASKED, past=past).sum().backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]
