"""Texts as their words: what they are, what they add up to, nulls, and words that were never learned."""

import logging

import pytest
import torch

from latentune.generators.conditioning import ConditionEncoder, ConditioningConfig
from latentune.generators.conditioning.words import WordsConditioner, WordsConfig, words_of
from latentune.generators.conditions import Conditions


@pytest.fixture
def words() -> WordsConditioner:
    conditioner = WordsConditioner(16, WordsConfig()).eval()
    with torch.no_grad():
        for word in ("calm", "dark", "techno"):
            conditioner.table.weight[conditioner.row(word)] = torch.randn(16)
    return conditioner


def vectors(conditioner: WordsConditioner, *values: object, drop: list[bool] | None = None) -> torch.Tensor:
    vector = conditioner(conditioner.prepare(values), torch.tensor(drop or [False] * len(values))).vector
    assert vector is not None
    return vector


def test_words_are_letters_and_digits_in_lower_case() -> None:
    assert words_of("Calm, DARK techno-music (8bit)") == ["calm", "dark", "techno", "music", "8bit"]
    assert words_of("Быстрая МУЗЫКА") == ["быстрая", "музыка"]
    assert words_of(["calm", "techno"]) == ["calm", "techno"]
    assert words_of(None) == words_of(" ,.") == words_of(float("nan")) == []


def test_a_text_is_the_sum_of_its_words_in_any_order(words: WordsConditioner) -> None:
    found = vectors(words, "calm techno", "Techno, calm!", "calm", "techno", "calm " * 40)
    torch.testing.assert_close(found[0], found[2] + found[3])
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(found[4], 40 * found[2])


def test_the_last_word_of_a_very_long_text_counts(words: WordsConditioner) -> None:
    found = vectors(words, "unknown " * 2**16 + "calm", "calm")
    torch.testing.assert_close(found[0], found[1])


def test_an_item_does_not_depend_on_the_longest_text_of_its_batch(words: WordsConditioner) -> None:
    alone, together = vectors(words, "dark techno"), vectors(words, "dark techno", "calm " * 100)
    torch.testing.assert_close(alone[0], together[0])


def test_dropped_is_the_same_as_not_given(words: WordsConditioner) -> None:
    found = vectors(words, "calm", "", None, "calm", drop=[False, False, False, True])
    for row in found[1:]:
        assert torch.equal(row, words.null)
    assert not torch.equal(found[0], words.null)


def test_every_weight_gets_a_gradient_whatever_is_given(words: WordsConditioner) -> None:
    for value in ("calm", None):
        words.zero_grad()
        vectors(words, value).square().sum().backward()
        assert all(weight.grad is not None for weight in words.parameters())


def test_only_words_of_the_training_data_are_learned() -> None:
    conditioner = WordsConditioner(8, WordsConfig())
    optimizer = torch.optim.AdamW(conditioner.parameters(), weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (vectors(conditioner, "calm techno", "") - 1).square().sum().backward()
        optimizer.step()
    assert conditioner.unlearned(["calm violin", "techno", "loud violin"]) == ["violin", "loud"]


def test_words_without_effect_are_reported_once_where_they_are_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    encoder = ConditionEncoder(ConditioningConfig(width=8, conditioners={"text": {"kind": "words"}}))
    asked = Conditions(values={"text": ["Solo violin"]})
    with caplog.at_level(logging.WARNING):
        encoder.prepare(asked)
        assert not caplog.messages
        for _ in range(2):
            encoder.request(asked)
    assert len(caplog.messages) == 1
    assert "did not have the words solo, violin: they have no effect" in caplog.messages[0]


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        WordsConfig(rows=0)
