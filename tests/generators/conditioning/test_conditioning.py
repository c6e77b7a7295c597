"""Conditions as vectors and tokens: nulls, padding, drops and wrong requests."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from latentune.generators.base import Conditions
from latentune.generators.conditioning import ConditionEncoder, ConditioningConfig
from latentune.generators.conditioning.seconds import seconds_features
from latentune.generators.conditioning.text import text_to_bytes

CONFIG = ConditioningConfig(
    width=16, text_layers=1, text_heads=2, text_max_bytes=12, text_tokens=2, labels=("rock", "jazz", "speech")
)


@pytest.fixture
def encoder() -> ConditionEncoder:
    torch.manual_seed(0)
    return ConditionEncoder(CONFIG).eval()


def conditions(*texts: str, labels: list[str | None] | None = None, seconds: float = 10.0) -> Conditions:
    return Conditions.of(list(texts), seconds, labels)


NAN = float("nan")


def nothing(count: int = 1) -> Conditions:
    given = Conditions.of([""] * count, NAN)
    return replace(given, seconds_start=torch.full((count,), NAN))


def vectors(encoder: ConditionEncoder, asked: Conditions, drop: Tensor | None = None) -> Tensor:
    encoded = encoder(asked, drop)
    return torch.cat([encoded.global_vector, encoded.tokens.flatten(1)], -1)


def test_shapes() -> None:
    encoded = ConditionEncoder(CONFIG)(conditions("a", "piano", ""))
    assert encoded.global_vector.shape == (3, 16)
    assert encoded.tokens.shape == (3, 2, 16)
    assert encoded.full_mask().all()
    assert len(encoded.followed_by(encoded)) == 6


@pytest.mark.parametrize("change", ["text", "labels", "seconds_total", "seconds_start"])
def test_every_kind_of_condition_has_an_effect(encoder: ConditionEncoder, change: str) -> None:
    base = conditions("piano", labels=["rock"])
    other = {
        "text": ["violin"],
        "labels": ["jazz"],
        "seconds_total": torch.tensor([11.0]),
        "seconds_start": torch.tensor([2.0]),
    }
    assert (vectors(encoder, base) - vectors(encoder, replace(base, **{change: other[change]}))).abs().max() > 1e-4


def test_an_item_does_not_depend_on_its_neighbours(encoder: ConditionEncoder) -> None:
    together = vectors(encoder, conditions("a", "a long text", "", labels=["rock", None, "jazz"]))
    for i, (text, label) in enumerate([("a", "rock"), ("a long text", None), ("", "jazz")]):
        alone = vectors(encoder, conditions(text, labels=[label]))
        torch.testing.assert_close(together[i : i + 1], alone, atol=1e-5, rtol=1e-4)


def test_dropped_is_the_same_as_not_given(encoder: ConditionEncoder) -> None:
    asked = conditions("piano", "violin", labels=["rock", "jazz"])
    dropped = vectors(encoder, asked, torch.tensor([True, False]))
    torch.testing.assert_close(dropped[:1], vectors(encoder, nothing()))
    torch.testing.assert_close(dropped[1:], vectors(encoder, asked)[1:])
    null = encoder.null(asked)
    torch.testing.assert_close(null.global_vector[1:], dropped[:1, :16])
    assert torch.isfinite(dropped).all()


@pytest.mark.parametrize("given", [True, False])
def test_every_weight_gets_a_gradient_whatever_is_given(given: bool) -> None:
    encoder = ConditionEncoder(CONFIG)
    asked = conditions("piano", labels=["rock"]) if given else nothing()
    vectors(encoder, asked).square().sum().backward()
    lacking = [name for name, weight in encoder.named_parameters() if weight.grad is None]
    assert not lacking
    assert all(torch.isfinite(weight.grad).all() for weight in encoder.parameters() if weight.grad is not None)


def test_without_any_condition_there_is_a_plain_vector() -> None:
    encoder = ConditionEncoder(ConditioningConfig(width=4, text_layers=0, seconds=False))
    encoded = encoder(conditions("x", "y"))
    assert encoded.global_vector.shape == (2, 4)
    assert encoded.tokens.shape == (2, 0, 4)
    assert encoder.num_tokens == 0


def test_long_text_is_cut_between_characters_counted_and_logged(
    encoder: ConditionEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    assert text_to_bytes("ööö", 5) == ("öö".encode(), True)
    assert text_to_bytes("  ab ", 2) == (b"ab", False)
    with caplog.at_level(logging.WARNING):
        long = vectors(encoder, conditions("abcdefghijkl and more", "abcdefghijkl"))
        encoder(conditions("abcdefghijkl and much more"))
    torch.testing.assert_close(long[0], long[1])
    assert encoder.parts["text"].num_truncated == 2
    assert len(caplog.records) == 1


def test_lone_surrogates_and_any_script_are_text(encoder: ConditionEncoder) -> None:
    assert torch.isfinite(vectors(encoder, conditions("\ud800", "静かな", "🎹"))).all()


def test_seconds_features_tell_short_times_apart() -> None:
    features = seconds_features(torch.tensor([0.0, 0.5, 1.0, 60.0, 61.0, 7200.0]))
    distances = torch.cdist(features, features) + 10 * torch.eye(len(features))
    assert distances.min() > 0.05


def test_an_unknown_label_is_refused_with_the_known_ones(encoder: ConditionEncoder) -> None:
    for call in (encoder, encoder.refuse):
        with pytest.raises(ValueError, match=r"unknown label 'jaz': did you mean 'jazz'\?; all: rock, jazz, speech"):
            call(conditions("", labels=["jaz"]))


def test_what_a_generator_does_not_take_is_refused_at_sampling_only() -> None:
    encoder = ConditionEncoder(ConditioningConfig(width=4, text_layers=0))
    encoder(conditions("x", labels=["rock"]))
    with pytest.raises(ValueError, match="without text"):
        encoder.refuse(conditions("x"))
    with pytest.raises(ValueError, match="without class labels"):
        encoder.refuse(conditions("", labels=["rock"]))
    encoder.refuse(conditions(""))


@pytest.mark.parametrize("seconds", [-1.0, float("inf")])
def test_impossible_times_are_refused(encoder: ConditionEncoder, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds_total must be 0 or more"):
        encoder(conditions("", seconds=seconds))


def test_lists_of_different_lengths_are_refused(encoder: ConditionEncoder) -> None:
    with pytest.raises(ValueError, match="one entry per item"):
        encoder(replace(conditions("a", "b"), labels=[None]))
    with pytest.raises(ValueError, match="drop_mask"):
        encoder(conditions("a", "b"), torch.tensor([True]))
    with pytest.raises(ValueError, match="one entry per item"):
        encoder(Conditions.of([], 1.0))


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0}, {"width": 10, "text_heads": 4}, {"labels": ("a", "a")}, {"text_tokens": 0}, {"text_layers": -1}],
)
def test_wrong_configs_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"width|text_heads|labels|text_tokens|text_layers"):
        ConditioningConfig(**wrong)
