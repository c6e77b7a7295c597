# ruff: noqa: RUF001  (texts of other scripts)
"""Characters and phonemes: what of a text is read, texts that are not given, and their two ways into a generator."""

import logging
from typing import Any

import pytest
import torch
from fake_binding import LATENT_BINDING, TOKEN_BINDING
from torch import nn

from latentune.core.errors import ConfigError, MissingPackageError
from latentune.generators.conditioning import ConditioningConfig, EncodedConditions
from latentune.generators.conditioning.characters import ALPHABET, CharacterConditioner, CharacterConfig
from latentune.generators.conditioning.characters import plain_characters as plain
from latentune.generators.conditioning.phonemes import PhonemeConditioner, PhonemeConfig, phonemizer_backend
from latentune.generators.conditioning.spread import lay_out
from latentune.generators.conditioning.symbols import SymbolConditioner
from latentune.generators.conditions import Conditions
from latentune.generators.continuous import ContinuousAR
from latentune.generators.continuous.model import ContinuousARConfig
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.generators.parts.guidance import guidance_branches


def characters(**options: Any) -> CharacterConditioner:
    torch.manual_seed(0)
    return CharacterConditioner(16, CharacterConfig(layers=2, **options)).eval()


def encode(conditioner: SymbolConditioner, *values: Any, drop: list[bool] | None = None) -> Any:
    return conditioner(conditioner.prepare(values), torch.tensor(drop or [False] * len(values)))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("  Hello,\n\tWORLD!  ", "hello, world!"),
        ("“naïve” café — it’s ½…", '"naive" cafe - it\'s 1/2...'),
        ("Straße ﬁn ①", "strasse fin 1"),
        ("na\N{COMBINING DIAERESIS}h", "nah"),
        ("", ""),
        (" \n", ""),
        ("привет", "привет"),
        ("❤\N{VARIATION SELECTOR-16}", "❤"),
    ],
)
def test_characters_are_brought_into_the_alphabet_where_they_can(text: str, read: str) -> None:
    assert plain(text, ALPHABET) == read


def test_an_alphabet_of_ones_own_keeps_its_letters() -> None:
    assert plain("Ёлка é", " абвгдеёжзийклмнопрстуфхцчшщъыьэюяe") == "ёлка e"


def test_symbols_outside_the_alphabet_are_one_symbol_counted_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    conditioner = characters()
    with caplog.at_level(logging.WARNING):
        prepared = conditioner.prepare(["a😀", "a한"])
        conditioner.prepare(["é ж"])
    assert torch.equal(prepared["symbols"][0], prepared["symbols"][1])
    assert conditioner.num_unknown == 3
    assert conditioner.unknown("a😀b한😀") == "😀한"
    (record,) = caplog.records
    assert "'😀한' are outside the alphabet" in record.getMessage()


@pytest.mark.parametrize("spread", [True, False])
def test_a_text_may_have_max_symbols_and_no_more(spread: bool) -> None:
    conditioner = characters(max_symbols=20, spread=spread)
    assert conditioner.prepare(["a" * 20])["mask"].sum() == (22 if spread else 20)  # two edges
    with pytest.raises(ValueError, match=r"a text of 10000 symbols, but max_symbols is 20: split .* into sentences"):
        conditioner.prepare(["b" * 10_000])


@pytest.mark.parametrize("spread", [True, False])
def test_dropped_is_the_same_as_not_given(spread: bool) -> None:
    conditioner = characters(spread=spread)
    found = encode(conditioner, "hello", None, "", " ", "hello", drop=[False, False, False, False, True])
    vectors, mask = (found.spread, found.spread_weights > 0) if spread else (found.cross, found.cross_mask)
    assert mask.sum(1).tolist() == [7 if spread else 5, 1, 1, 1, 1]  # two edges
    for row in vectors[1:]:
        assert torch.equal(row[0], conditioner.null)
    assert not torch.allclose(vectors[0, 0], conditioner.null)


@pytest.mark.parametrize("spread", [True, False])
def test_a_text_does_not_depend_on_the_others_of_its_batch(spread: bool) -> None:
    conditioner = characters(spread=spread)
    alone, together = encode(conditioner, "hello"), encode(conditioner, "hello", "x" * 100)
    for one, both in ((alone.spread, together.spread), (alone.cross, together.cross)):
        if one is not None:
            count = one.shape[1]
            torch.testing.assert_close(one[0, :7][:count], both[0, :7][:count])


@pytest.mark.parametrize("spread", [True, False])
def test_every_weight_gets_a_gradient_whatever_is_given(spread: bool) -> None:
    conditioner = characters(spread=spread)
    for text in ("hello", None):
        conditioner.zero_grad()
        found = encode(conditioner, text)
        used = lay_out(found.spread, found.spread_weights, torch.tensor([9]), 9) if spread else found.cross
        used.square().sum().backward()
        assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in conditioner.parameters())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"alphabet": ""}, "alphabet must be symbols that differ"),
        ({"alphabet": "aa"}, "alphabet must be symbols that differ"),
        ({"kernel": 4}, "kernel odd"),
        ({"max_symbols": 0}, "max_symbols at least 1"),
    ],
)
def test_configs_without_meaning_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        CharacterConfig(**options)


def spoken(**options: Any) -> ConditioningConfig:
    return ConditioningConfig(width=8, conditioners={"transcript": {"kind": "characters", "layers": 1, **options}})


def transformer(**options: Any) -> DiffusionTransformer:
    torch.manual_seed(0)
    conditioning = options.pop("conditioning", spoken())
    model = DiffusionTransformer(
        DiffusionTransformerConfig(
            binding=LATENT_BINDING, width=16, depth=1, heads=2, conditioning=conditioning, **options
        )
    ).eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    return model


def test_a_spread_symbol_acts_on_the_frames_that_it_covers() -> None:
    model, x = transformer(), torch.randn(1, 12, 3)
    nn.init.zeros_(model.condition_encoder.conditioners["transcript"].log_length.weight)  # all equally long

    def velocity(text: str) -> torch.Tensor:
        encoded = model.condition_encoder(Conditions(values={"transcript": [text]}))
        return model._embed(x, torch.arange(12), encoded, None, None)

    # one block of kernel 7 reaches 3 symbols to either side, and 10 symbols and two edges have one frame each
    changed = (velocity("aaaaaaaaaa") - velocity("aaaaaaaaab")).abs().amax((0, 2)) > 1e-6
    assert changed.tolist() == [False] * 7 + [True] * 5


@pytest.mark.parametrize("packed", [False, True])
def test_an_item_of_its_own_length_is_the_same_alone_and_in_a_batch(packed: bool) -> None:
    model, x = transformer(), torch.randn(2, 10, 3)
    conditions, t = Conditions(values={"transcript": ["hello there", "hi"]}), torch.tensor([0.3, 0.8])
    mask = torch.arange(10) < torch.tensor([[10], [6]])
    model.packed = packed
    together = model(x, t, conditions=conditions, mask=mask)
    alone = model(x[1:, :6], t[1:], conditions=conditions.rows([1]))
    torch.testing.assert_close(together[1, :6], alone[0], rtol=1e-4, atol=1e-5)
    other = model(x[1:, :6], t[1:], conditions=Conditions(values={"transcript": ["ha"]}))
    assert (other - alone).abs().max() > 1e-3


def test_sampling_lays_a_text_out_over_the_length_of_each_item() -> None:
    model = transformer()
    texts = ["hello there", "hi", "how are you"]
    lengths = torch.tensor([400, 100, 220])
    sampling = model.make_sampling({"num_inference_steps": 2, "guidance_scale": 2.0})
    noise = torch.Generator()
    whole = model.sample(
        Conditions(values={"transcript": texts}), lengths, sampling=sampling, generator=noise.manual_seed(0)
    )
    first = model.sample(
        Conditions(values={"transcript": texts[:1]}), lengths[:1], sampling=sampling, generator=noise.manual_seed(0)
    )
    assert whole.latents is not None
    assert first.latents is not None
    torch.testing.assert_close(whole.latents[:1], first.latents, rtol=1e-4, atol=1e-4)


def test_branches_of_guidance_keep_what_is_spread() -> None:
    model = transformer()
    options = model.make_sampling({"guidance_scale": 3.0, "guidance_scales": {"transcript": 2.0}})
    found = guidance_branches(model.condition_encoder, Conditions(values={"transcript": ["hello", "hi"]}), options)
    encoded: EncodedConditions = found.encoded
    assert encoded.spread_weights is not None
    assert (encoded.spread_weights > 0).sum(1).tolist() == [7, 4, 1, 1, 1, 1]


def test_generators_that_make_frame_after_frame_refuse_what_is_spread() -> None:
    sizes: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "conditioning": spoken()}
    with pytest.raises(ValueError, match=r"a token language model cannot .*set spread to false \(transcript\)"):
        TokenLM(TokenLMConfig(binding=TOKEN_BINDING, **sizes))
    with pytest.raises(ValueError, match=r"continuous autoregression cannot .*set spread to false \(transcript\)"):
        ContinuousAR(ContinuousARConfig(binding=LATENT_BINDING, head_width=8, head_depth=1, **sizes))
    with pytest.raises(ValueError, match="needs attention full: set spread to false"):
        DiffusionTransformer(DiffusionTransformerConfig(binding=LATENT_BINDING, attention="chunk_causal", **sizes))


def test_one_condition_alone_is_spread() -> None:
    both = {name: {"kind": "characters"} for name in ("transcript", "translation")}
    with pytest.raises(ValueError, match="one condition alone can be spread over the frames, got transcript, transl"):
        transformer(conditioning=ConditioningConfig(width=8, conditioners=both))


def test_tokens_of_a_text_reach_every_kind_of_generator() -> None:
    sizes: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "conditioning": spoken(spread=False)}
    torch.manual_seed(0)
    tokens = torch.zeros(2, 8, 2, dtype=torch.int64)
    conditions = Conditions(values={"transcript": ["hello", "hi"]})
    lm = TokenLM(TokenLMConfig(binding=TOKEN_BINDING, **sizes)).eval()
    nn.init.normal_(lm.head.weight, std=0.3)
    logits = lm(tokens, conditions=conditions)
    assert (logits[0] - logits[1]).abs().max() > 1e-6
    velocity = transformer(conditioning=spoken(spread=False))(
        torch.zeros(2, 8, 3), torch.tensor([0.5, 0.5]), conditions=conditions
    )
    assert (velocity[0] - velocity[1]).abs().max() > 1e-3


def test_an_alphabet_is_saved_with_its_generator() -> None:
    assert spoken().conditioners["transcript"]["alphabet"] == ALPHABET
    with pytest.raises(ConfigError, match="layer"):
        spoken(layer=3)


def test_written_phonemes_need_no_package() -> None:
    conditioner = PhonemeConditioner(8, PhonemeConfig(written=True)).eval()
    prepared = conditioner.prepare(["həlˈoʊ  wˈɜːld", None])
    assert prepared["mask"].sum(1).tolist() == [15, 0]  # two edges
    assert not conditioner.num_unknown


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentune.core.extras.is_installed", lambda package: False)
    phonemizer_backend.cache_clear()
    with pytest.raises(MissingPackageError, match=r"a condition of kind phonemes needs phonemizer: pip install"):
        PhonemeConditioner(8, PhonemeConfig()).prepare(["hello"])


def test_texts_are_read_in_ipa() -> None:
    pytest.importorskip("phonemizer")
    conditioner = PhonemeConditioner(8, PhonemeConfig())
    try:
        found = conditioner.symbols(["Hello, world!", "", "How are you?\nFine."])
    except MissingPackageError:
        pytest.skip("espeak-ng is not installed")
    assert found[0].startswith("həl")
    assert found[1] == ""
    assert found[0].endswith("!")
    assert not any(map(conditioner.unknown, found))
    with pytest.raises(ValueError, match="espeak-ng has no language 'klingon'"):
        PhonemeConditioner(8, PhonemeConfig(language="klingon")).symbols(["a"])
