"""Weights are packed once for many calls, and again after every kind of change."""

import copy
from collections.abc import Callable

import pytest
import torch
from fake_binding import CONDITIONING, TOKEN_BINDING
from peft import LoraConfig
from sampling import sample
from torch import Tensor

from latentune.generators.conditions import Conditions
from latentune.generators.language import TokenLM, TokenLMConfig, weights

CONFIG = TokenLMConfig(
    binding=TOKEN_BINDING,
    width=32,
    depth=1,
    heads=2,
    digit_width=16,
    max_frames=16,
    conditioning=CONDITIONING,
    ends=True,
)


@pytest.fixture
def model() -> TokenLM:
    torch.manual_seed(1)
    model = TokenLM(CONFIG).eval()
    torch.nn.init.normal_(model.head.weight, std=0.7)
    return model


@pytest.fixture
def packings(monkeypatch: pytest.MonkeyPatch) -> list[TokenLM]:
    """The models whose weights were packed, in order."""
    seen: list[TokenLM] = []
    of = weights.StepWeights.of

    def watched(model: TokenLM) -> weights.StepWeights:
        seen.append(model)
        return of(model)

    monkeypatch.setattr(weights.StepWeights, "of", watched)
    return seen


def draw(model: TokenLM) -> Tensor:
    tokens = sample(model, Conditions.of(["a"], 1.0), [70], stop=False).tokens
    assert tokens is not None
    return tokens


def fresh(model: TokenLM) -> Tensor:
    """Returns the tokens that a new model of the same weights draws."""
    other = TokenLM(model.settings).eval()
    other.load_state_dict(model.state_dict())
    return draw(other)


def test_an_unchanged_model_is_packed_once(model: TokenLM, packings: list[TokenLM]) -> None:
    first = draw(model)
    model.open_stream(Conditions.of(["a"], 1.0)).next_block(1)
    assert torch.equal(draw(model), first)
    assert packings == [model]
    assert torch.equal(draw(copy.deepcopy(model)), first)
    assert len(packings) == 2


def step_of_training(model: TokenLM) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3)
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer.step()


def load_others(model: TokenLM, assign: bool = False) -> None:
    torch.manual_seed(2)
    other = TokenLM(CONFIG)
    torch.nn.init.normal_(other.head.weight, std=0.7)
    model.load_state_dict(other.state_dict(), assign=assign)


def swap_data(model: TokenLM) -> None:
    for weight in model.decoder.parameters():
        weight.data = torch.randn_like(weight)


def write_data(model: TokenLM) -> None:
    for weight in model.head.parameters():
        weight.data.add_(torch.randn_like(weight))


def cast_and_back(model: TokenLM) -> None:
    with torch.no_grad():
        model.decoder.layers[0][1].to_q.weight.add_(1e-4)
    model.to(torch.float16).to(torch.float32)


@pytest.mark.parametrize(
    "change",
    [
        step_of_training,
        load_others,
        lambda model: load_others(model, assign=True),
        swap_data,
        write_data,
        cast_and_back,
        lambda model: torch.nn.init.normal_(model.end_head.to_logit.weight),
    ],
)
def test_a_change_packs_again(model: TokenLM, packings: list[TokenLM], change: Callable[[TokenLM], None]) -> None:
    draw(model)
    change(model)
    again = draw(model)
    assert packings == [model, model]
    assert torch.equal(again, fresh(model))


def test_what_is_kept_is_dropped_for_training_and_adapters(model: TokenLM, packings: list[TokenLM]) -> None:
    plain = draw(model)
    assert model.packed_weights._kept is not None
    model.train()
    assert model.packed_weights._kept is None
    model.eval()
    model.add_adapter(LoraConfig(target_modules=r"decoder\..*\.to_q", init_lora_weights=False))
    model.eval()
    adapted = draw(model)
    assert not torch.equal(adapted, plain)
    assert torch.equal(draw(model), adapted)
    assert model.packed_weights._kept is None
    model.disable_adapters()
    assert torch.equal(draw(model), plain)
    assert len(packings) == 4


def test_saved_models_hold_no_packed_weights(model: TokenLM) -> None:
    names = set(model.state_dict())
    draw(model)
    assert set(model.state_dict()) == names
    assert copy.deepcopy(model).packed_weights._kept is None
