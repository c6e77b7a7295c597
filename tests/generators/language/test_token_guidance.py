"""Guidance of a language model: negative prompts and scales of single conditions weigh the logits of its branches."""

from typing import Any

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING
from sampling import sample
from torch import Tensor

from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig

CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING,
    width=32,
    depth=2,
    heads=2,
    digit_width=16,
    max_frames=32,
    conditioning=CONDITIONING,
)
ASKED = Conditions.of(["piano", "rain"], 1.0, ["rock", "rock"])


@pytest.fixture(scope="module")
def model() -> TokenLM:
    torch.manual_seed(1)
    model = TokenLM(CONFIG).eval()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    return model


def draw(model: TokenLM, asked: Conditions = ASKED, **options: Any) -> Tensor:
    tokens = sample(model, asked, [40, 30], **options).tokens
    assert tokens is not None
    return tokens


def test_a_negative_prompt_that_is_the_prompt_leads_nowhere(model: TokenLM) -> None:
    same = ASKED.replaced(text=["piano", "piano"])
    plain = draw(model, same)
    assert torch.equal(draw(model, same, guidance_scale=5.0, negative_prompt="piano"), plain)
    assert not torch.equal(draw(model, same, guidance_scale=5.0, negative_prompt="rain"), plain)


def test_a_scale_of_a_condition_that_is_not_given_does_nothing(model: TokenLM) -> None:
    silent = ASKED.replaced(text=["", ""])
    plain = draw(model, silent)
    assert torch.equal(draw(model, silent, guidance_scales={"text": 5.0}), plain)
    assert not torch.equal(draw(model, silent, guidance_scales={"label": 5.0}), plain)
    assert not torch.equal(draw(model, guidance_scales={"text": 5.0}), draw(model))


def test_scales_of_single_conditions_that_are_the_common_one_are_plain_guidance(model: TokenLM) -> None:
    options = {"guidance_scale": 2.0, "guidance_scales": {"text": 2.0, "label": 2.0}}
    assert torch.equal(draw(model, **options), draw(model, guidance_scale=2.0))


def test_an_item_does_not_depend_on_the_batch(model: TokenLM) -> None:
    options: dict[str, Any] = {
        "guidance_scale": 2.0,
        "guidance_scales": {"text": 3.0, "label": 1.5},
        "negative_prompt": "noise",
    }
    together = draw(model, **options)
    alone = sample(model, ASKED.rows([0]), [40], **options).tokens
    assert alone is not None
    assert torch.equal(together[:1], alone)
