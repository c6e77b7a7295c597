"""Conditions through frozen encoders: any text encoder of transformers, and CLAP's joint space of text and audio."""

import logging
from pathlib import Path
from typing import Any

import pytest
import tiny_encoders
import torch
from torch import Tensor

from latentune.core.errors import CheckpointError, ConfigError
from latentune.generators.conditioning import ConditionEncoder, ConditioningConfig
from latentune.generators.conditioning.frozen import FrozenEncoder, FrozenSource, load_frozen
from latentune.generators.conditions import Conditions

KINDS = ("bert", "t5", "gemma", "clap")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: tiny_encoders.save_text_encoder(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


def encoder_of(**conditioner: Any) -> ConditionEncoder:
    torch.manual_seed(1)
    return ConditionEncoder(ConditioningConfig(width=8, conditioners={"text": conditioner})).eval()


def frozen_of(encoder: ConditionEncoder) -> FrozenEncoder:
    source = encoder.conditioners["text"].frozen
    assert source is not None
    return load_frozen(source)


def tokens_of(encoder: ConditionEncoder, value: Any) -> tuple[Tensor, Tensor]:
    """The real tokens [S, W] and the vector [W] of one value."""
    encoded = encoder(Conditions(values={"text": [value]}))
    return encoded.tokens[0, encoded.full_mask()[0]], encoded.global_vector[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_encoder_gives_a_token_per_token(kind: str, encoders: dict[str, Path]) -> None:
    frozen = load_frozen(FrozenSource(kind="frozen_text", source=str(encoders[kind])))
    assert frozen.dim == 16
    texts = ["a dog barks", "piano", "slow loud rain a cat"]
    together = frozen.embed(texts)
    assert [tuple(found.shape) for found in together] == [(5, 16), (3, 16), (7, 16)]  # with start and end
    for text, found in zip(texts, together, strict=True):
        torch.testing.assert_close(found, frozen.embed([text])[0], atol=1e-5, rtol=1e-4)
    assert not any(parameter.requires_grad for network in frozen.networks for parameter in network.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_and_its_stored_embeddings_are_the_same_condition(kind: str, encoders: dict[str, Path]) -> None:
    encoder = encoder_of(kind="frozen_text", encoder=str(encoders[kind]))
    assert encoder.config.conditioners["text"]["dim"] == 16
    stored = frozen_of(encoder).embed(["a dog barks"])[0]
    for one, other in zip(tokens_of(encoder, "a dog barks"), tokens_of(encoder, stored), strict=True):
        torch.testing.assert_close(one, other)
    assert (tokens_of(encoder, "a cat")[1] - tokens_of(encoder, "a dog")[1]).abs().max() > 1e-4
    assert not any("network" in name for name in encoder.state_dict())


def test_not_given_is_dropped_and_every_weight_has_a_gradient(encoders: dict[str, Path]) -> None:
    encoder = encoder_of(kind="frozen_text", encoder=str(encoders["bert"]))
    asked = Conditions(values={"text": ["a dog", None, "", "rain"]})
    drop = torch.tensor([True, False, False, False])
    encoded = encoder(asked, drop)
    vectors = encoded.global_vector
    for item in (1, 2):
        torch.testing.assert_close(vectors[item], vectors[0])
    assert (vectors[3] - vectors[0]).abs().max() > 1e-4
    assert encoded.full_mask().sum(1).tolist() == [1, 1, 1, 3]
    for given in (["a dog"], [None]):
        encoder.zero_grad()
        encoded = encoder(Conditions(values={"text": given}))
        (encoded.global_vector.sum() + encoded.tokens.sum()).backward()
        assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in encoder.parameters())


def test_a_long_text_is_cut_with_one_warning(encoders: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    source = FrozenSource(kind="frozen_text", source=str(encoders["bert"]), options=(("max_tokens", 4),))
    frozen: Any = load_frozen(source)
    with caplog.at_level(logging.WARNING):
        found = frozen.embed(["a dog", "a dog barks", "a cat barks"])
    assert [len(one) for one in found] == [4, 4, 4]
    assert frozen.num_truncated == 2
    assert len([record for record in caplog.records if "is cut to 4 tokens" in record.getMessage()]) == 1


def test_prepared_lengths_are_few_and_padding_has_no_effect(encoders: dict[str, Path]) -> None:
    encoder = encoder_of(kind="frozen_text", encoder=str(encoders["bert"]), max_tokens=20)
    texts = ["dog " * number for number in range(1, 19)]
    prepared = [encoder.prepare(Conditions(values={"text": [text]})).tensors["text"] for text in texts]
    assert {tensors["embeddings"].shape[1] for tensors in prepared} == {16, 20}
    alone = tokens_of(encoder, texts[0])[1]
    padded = encoder(Conditions(values={"text": [texts[0], texts[-1]]})).global_vector[0]
    torch.testing.assert_close(alone, padded)


def noise(seed: int, num_samples: int = 60_000) -> Tensor:
    return 0.2 * torch.randn(2, num_samples, generator=torch.Generator().manual_seed(seed))


def test_clap_takes_a_text_a_recording_and_either_embedding(encoders: dict[str, Path]) -> None:
    encoder = encoder_of(kind="clap", checkpoint=str(encoders["clap"]))
    assert encoder.config.conditioners["text"]["dim"] == 12
    frozen = frozen_of(encoder)
    values: list[Any] = ["a dog", (noise(0), 48_000), (noise(0, 600_000), 24_000), (noise(1), 44_100)]
    found = [embeddings[0] for embeddings in frozen.embed(values)]
    torch.testing.assert_close(torch.stack([one.norm() for one in found]), torch.ones(4))
    vectors = [tokens_of(encoder, value)[1] for value in values]
    for vector, embedding in zip(vectors, found, strict=True):
        torch.testing.assert_close(vector, tokens_of(encoder, embedding)[1], atol=1e-5, rtol=1e-4)
    assert torch.pdist(torch.stack(vectors)).min() > 1e-5


def test_the_mean_over_windows_is_that_of_the_embedder(encoders: dict[str, Path]) -> None:
    from latentune.pipelines.measure.embedders import load_embedder

    frozen = load_frozen(FrozenSource.parse(f"clap:{encoders['clap']}"))
    audio = noise(3, 1_000_000)
    windows = load_embedder("clap", checkpoint=encoders["clap"], overlap=0.0).embed(audio.mean(0))
    assert len(windows) == 2
    mean = torch.nn.functional.normalize(windows.mean(0), dim=-1)
    torch.testing.assert_close(frozen.embed([(audio, 48_000)])[0][0], mean, atol=1e-5, rtol=1e-4)


def test_wrong_values_are_refused(encoders: dict[str, Path]) -> None:
    text = encoder_of(kind="frozen_text", encoder=str(encoders["bert"]))
    clap = encoder_of(kind="clap", checkpoint=str(encoders["clap"]))
    for encoder, value, message in (
        (text, torch.zeros(2, 15), r"must be \[1 to 128, 16\], got \(2, 15\)"),
        (text, torch.zeros(0, 16), r"got \(0, 16\)"),
        (text, torch.zeros(129, 16), r"got \(129, 16\)"),
        (text, (noise(0), 48_000), "takes no audio: give a text"),
        (clap, torch.zeros(2, 12), r"must be \[1 to 1, 12\]"),
        (clap, (noise(0) * float("nan"), 48_000), "audio holds NaN"),
        (clap, (noise(0), 0), "sample rates must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            encoder.prepare(Conditions(values={"text": [value]}))


def test_wrong_sources_are_refused(encoders: dict[str, Path], tmp_path: Path) -> None:
    for kind, message in (
        ("frozen_txt:x", "did you mean 'frozen_text'"),
        ("frozen_text", "is not kind:source"),
        ("frozen_text:x?max_token=3", "has no option 'max_token': did you mean 'max_tokens'"),
        ("frozen_text:x?source=3", "has no option 'source'"),
        ("frozen_text:x?3", "is not key=value"),
    ):
        with pytest.raises(ConfigError, match=message):
            FrozenSource.parse(kind)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"no text encoder at .*empty"):
        encoder_of(kind="frozen_text", encoder=str(tmp_path / "empty"))
    folder = tiny_encoders.save_text_encoder("bert", tmp_path / "short")
    for file in folder.glob("*token*"):
        file.unlink()
    tiny_encoders.write_tokenizer(folder / "tokenizer.json", tuple(map(str, range(40))))
    with pytest.raises(CheckpointError, match=r"tokenizer of .*short"):
        load_frozen(FrozenSource.parse(f"frozen_text:{folder}"))
    with pytest.raises(ValueError, match="max_tokens and dim must be at least 1"):
        encoder_of(kind="frozen_text", encoder="x", dim=0)
    wide = encoder_of(kind="frozen_text", encoder=str(encoders["bert"]), dim=32)
    with pytest.raises(ValueError, match=r"must be \[1 to 128, 32\], got \(3, 16\): are they of frozen_text"):
        wide.prepare(Conditions(values={"text": ["dog"]}))


def test_a_source_is_a_text_without_what_is_default() -> None:
    source = FrozenSource(kind="frozen_text", source="a/b", options=(("max_tokens", 64),))
    assert str(source) == "frozen_text:a/b?max_tokens=64"
    assert FrozenSource.parse(str(source)) == source
    default = FrozenSource(kind="frozen_text", source="a/b", options=(("max_tokens", 128),))
    assert default == FrozenSource.parse("frozen_text:a/b")
    assert str(default) == "frozen_text:a/b"


def test_an_encoder_of_somebody_else_is_named_by_its_class(tmp_path: Path) -> None:
    source = FrozenSource.parse("third_party:LengthEncoder:anything")
    assert (source.kind, source.source) == ("third_party:LengthEncoder", "anything")
    assert load_frozen(source).embed(["four"])[0].tolist() == [[4.0]]


def test_another_kind_on_top_of_a_shipped_config_leaves_the_options_of_that_out(encoders: dict[str, Path]) -> None:
    shipped = {"kind": "bytes", "layers": 2, "heads": 4, "num_tokens": 8, "drop_probability": 0.5}
    config = ConditioningConfig(
        width=8, conditioners={"text": {**shipped, "kind": "frozen_text", "encoder": str(encoders["bert"])}}
    )
    assert sorted(config.conditioners["text"]) == ["dim", "drop_probability", "encoder", "kind", "max_tokens"]
    assert config.conditioners["text"]["drop_probability"] == 0.5
