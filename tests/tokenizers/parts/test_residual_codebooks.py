"""Residual codebooks: placed by `fit`, moved by training alone, the same face as FSQ, and trained in MelCodec."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.melcodec import MelCodec, MelCodecConfig
from latentune.tokenizers.parts.residual import ResidualCodebooks, ResidualConfig


def clusters(generator: torch.Generator, count: int = 800) -> torch.Tensor:
    """Values around eight corners."""
    corners = torch.randint(2, (count, 3), generator=generator).float() - 0.5
    return corners + 0.02 * torch.randn(count, 3, generator=generator)


def test_fit_places_entries_where_the_values_are(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    books = ResidualCodebooks(ResidualConfig(num_codebooks=2, codebook_size=8), 3).eval()
    values = clusters(generator)
    books.fit(values)
    assert not books.training
    assert books.levels == ((8,), (8,))
    made = books.tokens_to_values(books.values_to_tokens(values))
    assert float((made - values).square().mean()) < 0.02**2  # below the spread within a cluster
    assert torch.equal(books.straight_through(values[None])[0], values + (made - values))


def test_only_training_moves_entries(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    books = ResidualCodebooks(ResidualConfig(codebook_size=8), 3).eval()
    books.fit(clusters(generator))
    before = books.codebooks.clone()
    shifted = clusters(generator)[None] + 0.1
    books.straight_through(shifted)
    assert torch.equal(books.codebooks, before)
    books.train()
    books.straight_through(shifted)
    assert not torch.equal(books.codebooks, before)


def test_melcodec_with_codebooks_is_the_same_codec_but_for_its_tokens(
    generator: torch.Generator, tmp_path: Path
) -> None:
    config = MelCodecConfig.tiny()
    torch.manual_seed(0)
    codec = MelCodec(replace(config, residual=ResidualConfig(num_codebooks=3, codebook_size=16)))
    assert {n: p.shape for n, p in codec.named_parameters()} == {
        n: p.shape for n, p in MelCodec(config).named_parameters()
    }
    audio = 0.1 * torch.randn(8, 1600, generator=generator)
    codec.train().fit(audio)
    assert codec.spec.levels == ((16,),) * 3
    made = codec(audio[:, None], torch.ones(8, dtype=torch.bool))
    made.reconstruction.square().mean().backward()
    assert codec.encoder.project.linear.weight.grad.abs().sum() > 0
    codec.eval()
    encoded = codec.encode(audio[:, None], 8000)
    assert encoded.tokens.shape == (8, 20, 3)
    assert len(encoded.tokens[..., 0].unique()) > 8
    latents = codec.tokens_to_latents(encoded.tokens)
    decoded = codec.decode(tokens=encoded.tokens)
    torch.testing.assert_close(decoded, codec.decode(latents=latents), atol=1e-5, rtol=0)
    codec.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.spec == codec.spec
    assert torch.equal(again.encode(audio[:, None], 8000).tokens, encoded.tokens)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_codebooks": 0}, "at least 1 of at least 2"),
        ({"codebook_size": 1}, "at least 1 of at least 2"),
        ({"decay": 1.0}, "decay 1.0 must be in"),
        ({"dead_below": -1.0}, "dead_below -1.0 not below 0"),
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ResidualConfig(**wrong)  # type: ignore[arg-type]
