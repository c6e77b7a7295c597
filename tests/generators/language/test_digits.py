"""Tokens as digits, and the exactness of the distribution that the digit head gives."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from latentune.generators.language import draw
from latentune.generators.language.digits import DigitEmbedding, DigitHead, digits_to_tokens, tokens_to_digits
from latentune.generators.language.sampling import TokenSampling

LEVELS = ((5, 4, 3), (3, 2))
FLAT = (5, 4, 3, 3, 2)


def random_head() -> DigitHead:
    torch.manual_seed(0)
    head = DigitHead(6, FLAT, 8)
    torch.nn.init.normal_(head.weight, std=0.5)
    torch.nn.init.normal_(head.bias)
    return head.eval()


def test_every_token_has_its_own_digits() -> None:
    tokens = torch.tensor(list(itertools.product(range(60), range(6))))
    digits = tokens_to_digits(tokens, LEVELS)
    assert digits.shape == (360, 5)
    assert len(set(map(tuple, digits.tolist()))) == 360
    assert torch.equal(digits_to_tokens(digits, LEVELS), tokens)
    assert digits[6 * 1].tolist() == [1, 0, 0, 0, 0]  # digit 0 is the least significant one


@pytest.mark.parametrize("token", [[60, 0], [0, 6], [-1, 0]])
def test_tokens_out_of_range_are_refused(token: list[int]) -> None:
    with pytest.raises(ValueError, match="tokens must lie in"):
        tokens_to_digits(torch.tensor([token]), LEVELS)


def test_float_tokens_are_refused() -> None:
    with pytest.raises(TypeError, match="integers"):
        tokens_to_digits(torch.zeros(1, 2), LEVELS)


def test_the_embedding_is_the_sum_over_digits() -> None:
    embedding = DigitEmbedding(FLAT, 7)
    digits = torch.tensor([4, 3, 2, 2, 1])
    expected = sum(embedding.each(digits))
    torch.testing.assert_close(embedding(digits), expected)
    assert embedding.table.weight.shape == (17, 7)


@torch.no_grad()
def test_the_probabilities_of_all_tokens_add_up_to_one() -> None:
    head = random_head()
    digits = torch.tensor(list(itertools.product(*map(range, FLAT))))
    hidden = torch.randn(6).expand(len(digits), -1)
    log_p = torch.log_softmax(head(hidden, digits), -1).gather(-1, digits[..., None]).squeeze(-1).sum(-1)
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-4)
    assert log_p.std() > 0.1


@torch.no_grad()
def test_a_fresh_head_gives_every_token_the_same_probability() -> None:
    head = DigitHead(6, FLAT, 8)
    digits = torch.tensor([[4, 3, 2, 2, 1], [0, 0, 0, 0, 0]])
    log_p = torch.log_softmax(head(torch.randn(2, 6), digits), -1).gather(-1, digits[..., None]).sum((1, 2))
    torch.testing.assert_close(log_p, torch.full((2,), -math.log(360)))


@torch.no_grad()
def test_a_digit_sees_those_before_it_and_none_else() -> None:
    head = random_head()
    hidden, digits = torch.randn(6), torch.tensor([2, 1, 1, 1, 0])
    base = head(hidden, digits)
    for k in range(len(FLAT)):
        changed = digits.clone()
        changed[k] = (digits[k] + 1) % FLAT[k]
        moved = (head(hidden, changed) - base).abs().amax(-1)
        assert moved[: k + 1].max() < 1e-5
        assert k == len(FLAT) - 1 or moved[k + 1 :].min() > 1e-4


@torch.no_grad()
def test_digits_are_drawn_one_after_the_other_with_the_probabilities_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    head, hidden = random_head(), torch.randn(3, 6)
    for weight in head.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    steps: list[Tensor] = []
    draw_digit = draw.draw_digit
    monkeypatch.setattr(draw, "draw_digit", lambda logits, *rest: (steps.append(logits), draw_digit(logits, *rest))[1])
    filters = draw.DigitFilter.of(TokenSampling(), hidden)
    digits, logits = draw.draw_digits(draw.head_weights(head), hidden, torch.rand(3, len(FLAT)), filters, None)
    torch.testing.assert_close(torch.stack(steps, 1), head(hidden, digits), atol=1e-4, rtol=1e-4)
    assert torch.equal(logits, torch.stack(steps, 1))
    known = torch.full_like(digits, -1)
    known[:, 2] = 1
    again, _ = draw.draw_digits(draw.head_weights(head), hidden, torch.rand(3, len(FLAT)), filters, None, known)
    assert (again[:, 2] == 1).all()
