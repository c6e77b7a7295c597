"""Items of different lengths computed end to end by the language model, without padding."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING
from torch import Tensor

from latentune.generators.base import LatentBatch
from latentune.generators.conditions import Conditions
from latentune.generators.language import NextTokenConfig, NextTokenObjective, TokenLM, TokenLMConfig

LENGTHS = (4, 12, 8)
CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING, width=32, depth=2, heads=2, digit_width=16, max_frames=16, conditioning=CONDITIONING
)
ASKED = Conditions.of(["a", "", "b c"], 1.0)


@pytest.fixture
def model() -> Any:
    torch.manual_seed(1)
    made = TokenLM(CONFIG)
    torch.nn.init.normal_(made.head.weight, std=0.5)
    return made


def batch() -> LatentBatch:
    random = torch.Generator().manual_seed(3)
    sizes = TOKEN_BINDING.spec.codebook_sizes
    tokens = torch.stack([torch.randint(size, (3, 12), generator=random) for size in sizes], -1)
    mask = torch.arange(12) < torch.tensor(LENGTHS)[:, None]
    return LatentBatch(
        latents=None, latent_mask=None, tokens=tokens, token_mask=mask, conditions=ASKED, ids=["a", "b", "c"]
    )


@pytest.mark.parametrize("ragged", [False, True])
def test_packed_items_have_the_logits_of_padded_ones(model: Any, ragged: bool) -> None:
    items = batch()
    encoded = model.condition_encoder(ASKED)
    if ragged:
        encoded = replace(encoded, mask=torch.tensor([[True, True], [True, False], [False, False]]))
    made = []
    for packed in (False, True):
        model.packed = packed
        made.append(model(items.tokens, conditions=encoded, mask=items.token_mask))
    real = items.token_mask
    torch.testing.assert_close(made[1][real], made[0][real], atol=1e-5, rtol=1e-4)
    assert not made[1][~real].any()
    with torch.autocast("cpu", torch.bfloat16):
        half = model(items.tokens, conditions=encoded, mask=items.token_mask)
    assert (half - made[0])[real].abs().max() < 0.3


def test_packed_items_have_the_loss_and_the_gradient_of_padded_ones(model: Any) -> None:
    objective = NextTokenObjective(NextTokenConfig(cond_drop_prob=0.5), CONFIG)
    made = []
    for packed in (False, True):
        model.packed = packed
        model.zero_grad()
        loss, metrics = objective(model, batch(), step=0, generator=torch.Generator().manual_seed(0))
        loss.backward()
        gradients: dict[str, Tensor] = {name: weight.grad for name, weight in model.named_parameters()}
        made.append({"loss": loss.detach()} | metrics | gradients)
    for name, value in made[0].items():
        torch.testing.assert_close(made[1][name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_packed_items_do_not_see_each_other(model: Any) -> None:
    model.packed, items = True, batch()
    tokens = items.tokens.clone()  # type: ignore[union-attr]
    tokens[0] = (tokens[0] + 1) % torch.tensor(TOKEN_BINDING.spec.codebook_sizes)
    with torch.no_grad():
        moved = (model(tokens, conditions=ASKED, mask=items.token_mask)) - model(
            items.tokens, conditions=ASKED, mask=items.token_mask
        )
    assert moved[0].abs().max() > 1e-3
    assert moved[1:].abs().max() < 1e-6
