"""The token language model: causality, padding, positions, conditions, learning, saving."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_binding import TOKEN_BINDING
from sampling import sample
from torch import Tensor

from latentune.core.config import build_config, config_to_dict
from latentune.core.errors import ConfigError
from latentune.generators.base import LatentBatch
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditions import Conditions
from latentune.generators.language import NextTokenConfig, NextTokenObjective, TokenLM, TokenLMConfig
from latentune.generators.language.digits import tokens_to_digits
from latentune.generators.language.objective import frame_nats
from latentune.generators.load import load_generator

SPEC = TOKEN_BINDING.spec
SIZES = SPEC.codebook_sizes

CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING,
    width=32,
    depth=2,
    heads=2,
    digit_width=16,
    max_frames=16,
    conditioning=ConditioningConfig(
        width=8,
        conditioners={
            "text": {"kind": "bytes", "layers": 1, "heads": 2, "num_tokens": 2},
            "label": {"kind": "labels", "labels": ["rock", "jazz"]},
            "seconds": {"kind": "seconds"},
        },
    ),
)
ASKED = Conditions.of(["piano", "a"], [1.0, 2.0], ["rock", None])


def random_model(config: TokenLMConfig = CONFIG) -> TokenLM:
    """With the zero-initialised output switched on."""
    torch.manual_seed(1)
    model = TokenLM(config).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


def draw_tokens(batch: int = 2, frames: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.stack([torch.randint(size, (batch, frames), generator=generator) for size in SIZES], -1)


@torch.no_grad()
def nats(model: TokenLM, tokens: Tensor, **options: Any) -> Tensor:
    options.setdefault("conditions", ASKED)
    return frame_nats(model(tokens, **options), tokens_to_digits(tokens, SPEC.levels))


def test_shapes_and_a_fresh_model_is_uniform() -> None:
    logits = TokenLM(CONFIG)(draw_tokens(), conditions=ASKED)
    assert logits.shape == (2, 12, 5, 5)
    uniform = nats(TokenLM(CONFIG), draw_tokens())
    torch.testing.assert_close(uniform, torch.full((2, 12), math.log(360)), atol=1e-4, rtol=0)


def test_a_token_sees_those_before_it_and_none_else() -> None:
    model, tokens = random_model(), draw_tokens()
    base = model(tokens, conditions=ASKED)
    changed = tokens.clone()
    changed[:, 5] = (tokens[:, 5] + 1) % torch.tensor(SIZES)
    moved = (model(changed, conditions=ASKED) - base).abs().amax((0, 2, 3))
    assert moved[:5].max() < 1e-5
    assert moved[6:].min() > 1e-4


def test_padding_has_no_effect_whatever_it_holds() -> None:
    model, tokens = random_model(), draw_tokens()
    mask = torch.arange(12) < torch.tensor([[12], [4]])
    broken = tokens.masked_fill(~mask[..., None], 9999)
    logits = model(broken, conditions=ASKED, mask=mask)
    alone = model(tokens[1:, :4], conditions=Conditions.of(["a"], 2.0))
    torch.testing.assert_close(logits[1, :4], alone[0], atol=1e-4, rtol=1e-4)


def test_tokens_know_their_place_in_the_chunk() -> None:
    model, tokens = random_model(), torch.ones(2, 12, 2, dtype=torch.int64)
    base = nats(model, tokens)
    with torch.no_grad():
        model.chunk_position.copy_(model.chunk_position.roll(1, 0))
    assert (nats(model, tokens) - base).abs().max() > 1e-4
    first = model.embed(torch.zeros(1, 3, 5, dtype=torch.int64), first_patch=2)
    whole = model.embed(torch.zeros(1, 5, 5, dtype=torch.int64))
    torch.testing.assert_close(first, whole[:, 2:])
    torch.testing.assert_close(whole[:, 0], whole[:, 4])


def test_each_condition_matters_to_its_own_item() -> None:
    model, tokens = random_model(), draw_tokens()
    base = nats(model, tokens)
    changes = {"text": ["violin", "a"], "label": ["jazz", None], "seconds": [(0.0, 5.0), (0.0, 2.0)]}
    for name, value in changes.items():
        moved = (nats(model, tokens, conditions=ASKED.replaced(**{name: value})) - base).abs().amax(1)
        assert moved[0] > 1e-5, name
        assert moved[1] < 1e-5, name
    dropped = nats(model, tokens, drop_mask=torch.tensor([True, True]))
    torch.testing.assert_close(dropped, nats(model, tokens, conditions=model.condition_encoder.null(ASKED)))
    assert (dropped - base).abs().max() > 1e-4


def test_masked_condition_tokens_have_no_effect() -> None:
    model, tokens = random_model(), draw_tokens()
    encoded = model.condition_encoder(ASKED)
    mask = torch.tensor([[True, False], [True, False]])
    loud = torch.where(mask[..., None], encoded.tokens, 50.0)
    base = nats(model, tokens, conditions=replace(encoded, mask=mask))
    torch.testing.assert_close(
        nats(model, tokens, conditions=replace(encoded, tokens=loud, mask=mask)), base, atol=1e-5, rtol=1e-5
    )
    assert (base - nats(model, tokens)).abs().max() > 1e-5


def test_every_weight_gets_a_gradient() -> None:
    model = TokenLM(CONFIG)
    model(draw_tokens(), conditions=Conditions.of(["", ""], 1.0)).square().sum().backward()
    assert not [name for name, weight in model.named_parameters() if weight.grad is None]


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    model = random_model()
    model.save_pretrained(tmp_path)
    again = load_generator(tmp_path)
    assert isinstance(again, TokenLM)
    assert again.settings == CONFIG
    assert again.settings.binding.latent_mean == ()
    assert again.fingerprint() == model.fingerprint()
    torch.testing.assert_close(nats(again, draw_tokens()), nats(model, draw_tokens()), atol=0, rtol=0)


def batch(size: int = 4) -> LatentBatch:
    mask = torch.ones(size, 12, dtype=torch.bool)
    mask[0, 4:] = False
    return LatentBatch(
        latents=None,
        latent_mask=None,
        tokens=draw_tokens(size),
        token_mask=mask,
        conditions=Conditions.of([""] * size, 3.0),
        ids=[str(i) for i in range(size)],
    )


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(value)


def test_the_loss_is_nats_per_token_over_real_tokens() -> None:
    model, items = random_model(), batch()
    objective = NextTokenObjective(NextTokenConfig(cond_drop_prob=0.0), CONFIG)
    loss, metrics = objective(model, items, step=0, generator=seed())
    assert items.tokens is not None
    each = nats(model, items.tokens, conditions=items.conditions)
    torch.testing.assert_close(loss, each[items.token_mask].mean() / 2)  # two codebooks: two tokens a frame
    assert metrics["bits_per_token"].item() == pytest.approx(loss.item() / math.log(2), rel=1e-5)
    garbage = items.tokens.masked_fill(~items.token_mask[..., None], 777)  # type: ignore[operator]
    again, _ = objective(model, replace(items, tokens=garbage), step=0, generator=seed())
    assert again == loss


def test_dropping_conditions_changes_the_loss_and_follows_the_seed() -> None:
    model, items = random_model(), replace(batch(), conditions=Conditions.of(["piano"] * 4, 3.0, ["rock"] * 4))
    kept, dropped, half, again = (
        NextTokenObjective(NextTokenConfig(cond_drop_prob=p), CONFIG)(model, items, step=0, generator=seed())[0].item()
        for p in (0.0, 1.0, 0.5, 0.5)
    )
    assert half == again
    assert len({kept, dropped, half}) == 3


def test_a_tiny_batch_is_learned_by_heart() -> None:
    torch.manual_seed(0)
    model, items = TokenLM(CONFIG), batch(2)
    objective, generator = NextTokenObjective(NextTokenConfig(), CONFIG), seed()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(60):
        loss, metrics = objective(model, items, step=step, generator=generator)
        if step == 0:
            assert loss.item() == pytest.approx(math.log(360) / 2, rel=1e-3)
            assert metrics["token_accuracy"] < 0.3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3
    assert metrics["token_accuracy"] > 0.9
    assert metrics["digit_accuracy"] >= metrics["token_accuracy"]


@pytest.mark.parametrize(
    ("tokens", "error", "message"),
    [
        (torch.zeros(2, 12, 1, dtype=torch.int64), ValueError, r"\[B, T', 2\]"),
        (torch.zeros(12, 2, dtype=torch.int64), ValueError, r"\[B, T', 2\]"),
        (torch.zeros(2, 11, 2, dtype=torch.int64), ValueError, "whole chunks of 4"),
        (torch.zeros(2, 0, 2, dtype=torch.int64), ValueError, "whole chunks of 4"),
        (torch.full((2, 12, 2), 60), ValueError, "tokens must lie in"),
        (torch.zeros(2, 12, 2), TypeError, "integers"),
        (torch.zeros(2, 20, 2, dtype=torch.int64), ValueError, "20 token frames are more than the context of 16"),
        (torch.zeros(3, 12, 2, dtype=torch.int64), ValueError, "3 items, but 2 conditions"),
    ],
)
def test_wrong_tokens_are_refused(tokens: Tensor, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        TokenLM(CONFIG)(tokens, conditions=ASKED)


def test_wrong_batches_are_refused() -> None:
    objective, items = NextTokenObjective(NextTokenConfig(), CONFIG), batch()
    wrong = {
        "has none": replace(items, tokens=None),
        "another tokenizer": replace(items, tokens=torch.zeros(4, 12, 3, dtype=torch.int64)),
        "no real token": replace(items, token_mask=torch.zeros(4, 12, dtype=torch.bool)),
    }
    for message, value in wrong.items():
        with pytest.raises(ValueError, match=message):
            objective(TokenLM(CONFIG), value, step=0, generator=seed())


@pytest.mark.parametrize(
    ("wrong", "message"), [({"heads": 5}, "heads 5 must divide width 32"), ({"digit_width": 0}, "must be positive")]
)
def test_wrong_configs_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **wrong)
    with pytest.raises(ConfigError, match="did you mean 'depth'"):
        build_config(TokenLMConfig, {**config_to_dict(CONFIG), "dept": 2})
    with pytest.raises(ValueError, match="cond_drop_prob"):
        NextTokenConfig(cond_drop_prob=-0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_weights_give_nearly_the_same(dtype: torch.dtype) -> None:
    tokens = draw_tokens()
    full, half = nats(random_model(), tokens), nats(random_model().to(dtype), tokens)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.2
    sampled = sample(random_model().to(dtype), ASKED, [70, 30], guidance_scale=2.0).tokens
    assert sampled is not None
    assert sampled.shape == (2, 16, 2)
