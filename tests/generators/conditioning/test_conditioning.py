"""Conditions as vectors and tokens: nulls, padding, drops and wrong requests."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.core.errors import ConfigError
from latentune.generators.conditioning import ConditionEncoder, ConditioningConfig
from latentune.generators.conditioning.base import Conditioner
from latentune.generators.conditioning.drops import draw_drops
from latentune.generators.conditioning.fourier import fourier_features
from latentune.generators.conditioning.seconds import log_position
from latentune.generators.conditioning.text import text_parts
from latentune.generators.conditions import Conditions, is_given


@dataclass(frozen=True)
class PlainOptions:
    """Options without a `drop_probability`."""


TEXT = {"kind": "bytes", "layers": 1, "heads": 2, "max_bytes": 12, "num_tokens": 2}
CONFIG = ConditioningConfig(
    width=16,
    conditioners={
        "text": TEXT,
        "label": {"kind": "labels", "labels": ["rock", "jazz", "speech"]},
        "seconds": {"kind": "seconds"},
    },
)


@pytest.fixture
def encoder() -> ConditionEncoder:
    torch.manual_seed(0)
    return ConditionEncoder(CONFIG).eval()


def conditions(*texts: str, labels: list[str | None] | None = None, seconds: float = 10.0) -> Conditions:
    return Conditions.of(list(texts), seconds, labels)


NAN = float("nan")


def nothing(count: int = 1) -> Conditions:
    return Conditions.of([""] * count, NAN, seconds_start=NAN)


def vectors(encoder: ConditionEncoder, asked: Conditions, drop: Tensor | None = None) -> Tensor:
    encoded = encoder(asked, drop)
    return torch.cat([encoded.global_vector, encoded.tokens.flatten(1)], -1)


def test_shapes() -> None:
    encoded = ConditionEncoder(CONFIG)(conditions("a", "piano", ""))
    assert encoded.global_vector.shape == (3, 16)
    assert encoded.tokens.shape == (3, 2, 16)
    assert encoded.full_mask().all()
    assert len(encoded.followed_by(encoded)) == 6


@pytest.mark.parametrize(
    "change",
    [{"text": ["violin"]}, {"label": ["jazz"]}, {"seconds": [(0.0, 11.0)]}, {"seconds": [(2.0, 10.0)]}],
    ids=["text", "label", "total", "start"],
)
def test_every_kind_of_condition_has_an_effect(encoder: ConditionEncoder, change: dict[str, Any]) -> None:
    base = conditions("piano", labels=["rock"])
    assert (vectors(encoder, base) - vectors(encoder, base.replaced(**change))).abs().max() > 1e-4


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
    encoder = ConditionEncoder(ConditioningConfig(width=4, conditioners={}))
    encoded = encoder(conditions("x", "y"))
    assert encoded.global_vector.shape == (2, 4)
    assert encoded.tokens.shape == (2, 0, 4)
    assert encoder.num_tokens == 0


def test_long_text_is_read_in_parts_whose_summaries_are_averaged(encoder: ConditionEncoder) -> None:
    assert text_parts("ööö", 5) == ["öö".encode(), "ö".encode()]
    assert text_parts("  ab cd efghi ", 5) == [b"ab cd", b"efghi"]
    assert text_parts(" \n", 5) == []
    words = "abcdefghijkl mnopqrstuvwx"  # two parts of 12 bytes
    long, first, second = (encoder(conditions(text)).tokens for text in (words, words[:12], words[13:]))
    torch.testing.assert_close(long, (first + second) / 2)
    assert (long - first).abs().max() > 1e-3
    both = encoder(conditions(words, "ab")).tokens
    torch.testing.assert_close(both[:1], long)
    torch.testing.assert_close(both[1:], encoder(conditions("ab")).tokens)


def test_lengths_of_prepared_texts_are_few(encoder: ConditionEncoder) -> None:
    wide = ConditionEncoder(ConditioningConfig(width=16, conditioners={"text": {**TEXT, "max_bytes": 100}}))
    lengths = {wide.prepare(conditions("x" * n)).tensors["text"]["bytes"].shape[-1] for n in range(101)}
    assert lengths == {16, 32, 64, 100}


def test_lone_surrogates_and_any_script_are_text(encoder: ConditionEncoder) -> None:
    assert torch.isfinite(vectors(encoder, conditions("\ud800", "静かな", "🎹"))).all()


def test_seconds_features_tell_short_times_apart() -> None:
    features = fourier_features(log_position(torch.tensor([0.0, 0.5, 1.0, 60.0, 61.0, 7200.0])))
    distances = torch.cdist(features, features) + 10 * torch.eye(len(features))
    assert distances.min() > 0.05


def test_an_unknown_label_is_refused_with_the_known_ones(encoder: ConditionEncoder) -> None:
    for call in (encoder, encoder.prepare, encoder.request):
        with pytest.raises(
            ValueError, match=r"condition label: unknown label 'jaz': did you mean 'jazz'\?; all: rock, jazz, speech"
        ):
            call(conditions("", labels=["jaz"]))


def test_what_a_generator_does_not_take_is_refused_at_sampling_only() -> None:
    encoder = ConditionEncoder(ConditioningConfig(width=4, conditioners={"text": None, "seconds": {"kind": "seconds"}}))
    encoder(conditions("x", labels=["rock"]))
    with pytest.raises(ValueError, match="without text"):
        encoder.request(conditions("x"))
    with pytest.raises(ValueError, match="without label"):
        encoder.request(conditions("", labels=["rock"]))
    with pytest.raises(ValueError, match=r"without bpm: leave it out \(its conditions: seconds\)"):
        encoder.request(Conditions.of([""], 1.0, bpm=[120]))
    encoder.request(conditions("", labels=[None]))
    ConditionEncoder(ConditioningConfig(width=4, conditioners={})).request(conditions(""))


@pytest.mark.parametrize("seconds", [-1.0, float("inf")])
def test_impossible_times_are_refused(encoder: ConditionEncoder, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds_total must be 0 or more"):
        encoder(conditions("", seconds=seconds))


def test_lists_of_different_lengths_are_refused(encoder: ConditionEncoder) -> None:
    with pytest.raises(ValueError, match="one entry per item"):
        encoder(conditions("a", "b").replaced(label=[None]))
    with pytest.raises(ValueError, match="drop_mask"):
        encoder(conditions("a", "b"), torch.tensor([True]))
    with pytest.raises(ValueError, match="one entry per item"):
        encoder(Conditions.of([], 1.0))


@pytest.mark.parametrize("value", [3.0, (1.0,), ("a", 2.0), "ab"])
def test_seconds_that_are_no_pair_are_refused(encoder: ConditionEncoder, value: Any) -> None:
    with pytest.raises(ValueError, match=r"seconds are a pair \(start, total\)"):
        encoder.prepare(conditions("").replaced(seconds=[value]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "width must be positive"),
        ({"width": 10, "conditioners": {"text": {**TEXT, "heads": 4}}}, "heads 4 must divide width 10"),
        ({"conditioners": {"label": {"kind": "labels", "labels": ["a", "a"]}}}, "labels must be"),
        ({"conditioners": {"label": {"kind": "labels", "labels": []}}}, "labels must be"),
        ({"conditioners": {"label": {"kind": "labels"}}}, "lacks the required key.* labels"),
        ({"conditioners": {"text": {**TEXT, "num_tokens": 0}}}, "num_tokens must be at least 1"),
        ({"conditioners": {"text": {**TEXT, "layers": -1}}}, "layers"),
        ({"conditioners": {"text": {**TEXT, "max_bytes": 3}}}, "max_bytes must hold the 4 bytes"),
        ({"conditioners": {"text": {**TEXT, "drop_probability": 1.5}}}, "drop_probability must lie in"),
        ({"conditioners": {"text": {**TEXT, "head": 2}}}, "conditioners.text.head: did you mean 'heads'"),
        ({"conditioners": {"text": {"kind": "byte"}}}, "no kind of conditioner 'byte': did you mean 'bytes'"),
        ({"conditioners": {"text": {"layers": 1}}}, "conditioners.text: expected a mapping with a kind"),
        ({"conditioners": {"text": "bytes"}}, "expected a mapping with a kind"),
        ({"conditioners": {"text": {"kind": 3}}}, "expected a mapping with a kind"),
        ({"conditioners": {"a.b": TEXT}}, "cannot be called 'a.b'"),
        ({"conditioners": {"keys": TEXT}}, "cannot be called 'keys'"),
    ],
)
def test_wrong_configs_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ConditioningConfig(**wrong)


class PlainConditioner(Conditioner):
    """Has options that do not derive from `ConditionerConfig`."""

    config_class = PlainOptions  # type: ignore[assignment]


def test_options_of_a_conditioner_derive_from_the_common_ones() -> None:
    kind = f"{__name__}:PlainConditioner"
    with pytest.raises(ConfigError, match="its config_class, PlainOptions, must derive from ConditionerConfig"):
        ConditioningConfig(width=16, conditioners={"singer": {"kind": kind}})


def test_a_config_writes_its_defaults_out_and_its_order_has_no_effect(encoder: ConditionEncoder) -> None:
    assert CONFIG.conditioners["text"] == {**TEXT, "drop_probability": 0.0}
    other = ConditioningConfig(width=16, conditioners=dict(reversed(CONFIG.conditioners.items())))
    assert other == CONFIG
    twin = ConditionEncoder(other)
    twin.load_state_dict(encoder.state_dict())
    asked = conditions("piano", labels=["rock"])
    assert torch.equal(vectors(twin, asked), vectors(encoder, asked))
    assert list(twin.parts) == ["text", "label", "seconds"]  # the order that saved generators were trained in


def test_prepared_conditions_are_tensors_and_give_the_same(encoder: ConditionEncoder) -> None:
    asked = conditions("piano", "", labels=["rock", None])
    prepared = encoder.prepare(asked)
    assert len(prepared) == 2
    assert all(isinstance(tensor, Tensor) for tensors in prepared.tensors.values() for tensor in tensors.values())
    assert all(len(tensor) == 2 for tensors in prepared.tensors.values() for tensor in tensors.values())
    assert torch.equal(encoder(prepared).global_vector, encoder(asked).global_vector)


def test_conditions_are_dropped_by_name(encoder: ConditionEncoder) -> None:
    asked = conditions("piano", "violin", labels=["rock", "jazz"])
    some = encoder(asked, {"text": torch.tensor([True, False]), "label": torch.tensor([False, True])})
    wanted = encoder(asked.replaced(text=["", "violin"], label=["rock", None]))
    torch.testing.assert_close(some.global_vector, wanted.global_vector)
    torch.testing.assert_close(some.tokens, wanted.tokens)


def test_each_condition_has_a_drop_probability_of_its_own() -> None:
    text, label = {**TEXT, "drop_probability": 0.5}, {"kind": "labels", "labels": ["a"], "drop_probability": 0.25}
    config = ConditioningConfig(width=16, conditioners={"text": text, "label": label, "seconds": {"kind": "seconds"}})
    drops = draw_drops(config, 0.1, 20_000, torch.Generator().manual_seed(0), torch.zeros(1))
    assert isinstance(drops, dict)
    shares = {name: float(mask.float().mean()) for name, mask in drops.items()}
    assert shares == pytest.approx({"text": 0.55, "label": 0.325, "seconds": 0.1}, abs=0.015)
    assert not (drops["seconds"] & ~(drops["text"] & drops["label"])).any()  # all at once
    plain = draw_drops(CONFIG, 0.1, 100, torch.Generator().manual_seed(0), torch.zeros(1))
    assert isinstance(plain, Tensor)  # and no draw more than one per item, so that older runs are repeated


def test_what_is_given() -> None:
    assert all(map(is_given, ["x", 0, 0.0, ["x"], (NAN, 1.0), False]))
    assert not any(map(is_given, [None, "", " ", NAN, [], [""], (NAN, None)]))


def test_lists_of_texts_and_numbers_are_texts(encoder: ConditionEncoder) -> None:
    listed = vectors(encoder, conditions("").replaced(text=[["a", "b"]]))
    assert torch.equal(listed, vectors(encoder, conditions("a, b")))
    assert torch.equal(vectors(encoder, conditions("").replaced(text=[7])), vectors(encoder, conditions("7")))
