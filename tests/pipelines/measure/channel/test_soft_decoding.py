"""Soft decoding: posteriors by Bayes' rule, latents found through the codecs' own interface, and fewer errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from latentune.layers import fsq
from latentune.pipelines.measure.channel.channel import Received, binary_symmetric, erasure
from latentune.pipelines.measure.channel.labelling import Labelling, codeword_bits
from latentune.pipelines.measure.channel.soft import ValueMap, count_usage, posterior, word_posteriors
from latentune.tokenizers.base import AudioTokenizer

PRESETS = ("native", "1x46656_400bps", "2x15625_700bps", "4x729_1000bps")


def certain(bits: torch.Tensor) -> Received:
    return Received(bits=bits, flip_probability=torch.tensor(0.0, dtype=torch.float64))


@pytest.fixture
def taae_presets(tiny_taae: Any) -> list[Any]:
    """The tiny TAAE under each way to make tokens that its levels allow."""
    from latentune.tokenizers.taae import TAAE
    from latentune.tokenizers.taae.bottleneck import allowed_presets

    names = allowed_presets(tiny_taae.settings.bottleneck.levels)
    return [TAAE(tiny_taae.settings).use_preset(name) for name in names]


@pytest.mark.parametrize("code", ["natural", "gray"])
def test_a_posterior_is_bayes_rule(code: str) -> None:
    words, prior, p = codeword_bits(5, code), torch.tensor([1.0, 2, 3, 0, 4]), 0.1  # type: ignore[arg-type]
    bits = codeword_bits(8, "natural")
    found = posterior(bits, torch.tensor(p), words, prior)
    for row, received in enumerate(bits):
        flips = (received ^ words).sum(1)
        joint = prior * p**flips * (1 - p) ** (3 - flips)
        torch.testing.assert_close(found[row].float(), joint / joint.sum())


def test_an_erased_bit_says_nothing_and_a_certain_one_all() -> None:
    words = codeword_bits(4, "natural")
    wrong = torch.tensor([[0.0, 0.5], [0.5, 0.5], [0.0, 0.0], [1.0, 0.0]])
    found = posterior(words[[2, 2, 2, 2]], wrong, words)
    expected = torch.tensor([[0, 0, 0.5, 0.5], [0.25] * 4, [0, 0, 1, 0], [1, 0, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_latents_of_certain_tokens_are_the_codecs_own(
    tiny_codec: AudioTokenizer, step_codec: AudioTokenizer, taae_presets: list[Any]
) -> None:
    assert len(taae_presets) > 1
    for tokenizer in (tiny_codec, step_codec, *taae_presets):
        spec = tokenizer.spec
        generator = torch.Generator().manual_seed(1)
        count = 3 * spec.chunk_tokens
        tokens = torch.stack([torch.randint(n, (count,), generator=generator) for n in spec.codebook_sizes], 1)
        for code in ("natural", "gray"):
            labelling = Labelling(spec.levels, code)  # type: ignore[arg-type]
            posteriors = word_posteriors(certain(labelling.tokens_to_bits(tokens)), labelling)
            latents = ValueMap.probe(tokenizer).latents(posteriors)
            wanted = tokenizer.tokens_to_latents(tokens[None])
            assert latents.shape == wanted.shape
            scale = tokenizer.settings.latent_scale
            torch.testing.assert_close(torch.tanh(scale * latents), torch.tanh(scale * wanted), atol=1e-4, rtol=0)


def test_mean_values_are_the_means_of_many_guesses(step_codec: AudioTokenizer) -> None:
    """Decoded values, drawn level by level from the posterior, have the mean that soft decoding returns."""
    labelling = Labelling(step_codec.spec.levels)
    generator = torch.Generator().manual_seed(0)
    sent = torch.randint(4**8, (4, 1), generator=generator)
    received = binary_symmetric(labelling.tokens_to_bits(sent), 0.2, generator)
    posteriors = word_posteriors(received, labelling)
    mean = torch.tanh(0.5 * ValueMap.probe(step_codec).latents(posteriors))
    guesses = torch.stack([torch.multinomial(c, 4000, replacement=True, generator=generator) for c in posteriors], -1)
    tokens = labelling.digits_to_tokens(guesses.flatten(0, 1)).reshape(4, 4000, 1)
    values = torch.tanh(0.5 * step_codec.tokens_to_latents(tokens))
    torch.testing.assert_close(values.mean(1), mean[0], atol=0.05, rtol=0)


@pytest.mark.parametrize("code", ["natural", "gray"])
@pytest.mark.parametrize("channel", [binary_symmetric, erasure])
def test_the_mean_has_less_error_than_the_word(step_codec: AudioTokenizer, code: str, channel: Any) -> None:
    labelling = Labelling(step_codec.spec.levels, code)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    digits = torch.multinomial(torch.tensor([1.0, 6, 6, 1]), 8 * 4000, replacement=True, generator=generator)
    sent = labelling.digits_to_tokens(digits.reshape(-1, 8))
    received = channel(labelling.tokens_to_bits(sent), 0.1, generator)
    values = ValueMap.probe(step_codec)

    def error(latents: torch.Tensor) -> float:
        truth = step_codec.tokens_to_latents(sent[None])
        return float((torch.tanh(0.5 * latents) - torch.tanh(0.5 * truth)).square().mean())

    hard = error(step_codec.tokens_to_latents(labelling.bits_to_tokens(received.bits)[0][None]))
    soft = error(values.latents(word_posteriors(received, labelling)))
    priors = count_usage(sent, labelling)
    with_prior = error(values.latents(word_posteriors(received, labelling, priors)))
    assert with_prior < soft < hard


@pytest.mark.parametrize("levels", [4, 16])
def test_natural_binary_without_a_prior_only_shrinks_values(levels: int) -> None:
    """A power of two of evenly spaced levels is a sum of its bits' signs, each of which shrinks by 1 - 2 P."""
    words, places, p = codeword_bits(levels, "natural"), torch.arange(levels).double(), 0.07
    mean = posterior(words, torch.tensor(p), words) @ places
    middle = places.mean()
    torch.testing.assert_close(mean, middle + (1 - 2 * p) * (places - middle))
    gray = codeword_bits(levels, "gray")
    assert not torch.allclose(posterior(gray, torch.tensor(p), gray) @ places, mean)


def test_usage_is_counted_level_by_level() -> None:
    labelling = Labelling(((3, 2),))
    counts = count_usage(torch.tensor([[0], [1], [1], [5]]), labelling)
    assert [c.tolist() for c in counts] == [[4.0, 2.0], [2.0, 3.0, 2.0]]  # most significant digit first, plus one


def test_a_codec_whose_latents_are_no_sums_is_refused(step_codec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = type(step_codec).tokens_to_latents

    def twisted(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        latents = own(self, tokens)
        return latents * latents.roll(1, -1)

    monkeypatch.setattr(type(step_codec), "tokens_to_latents", twisted)
    with pytest.raises(ValueError, match="not sums of its tokens' digits"):
        ValueMap.probe(step_codec)
    monkeypatch.delattr(type(step_codec.settings), "latent_scale")
    object.__delattr__(step_codec.settings, "latent_scale")
    with pytest.raises(ValueError, match="latent_scale"):
        ValueMap.probe(step_codec)


def test_bad_input() -> None:
    words = codeword_bits(4, "natural")
    bits = words[:2]
    with pytest.raises(ValueError, match=r"\[T, b\] and \[L, b\]"):
        posterior(bits[:, :1], torch.tensor(0.1), words)
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        posterior(bits, torch.tensor(1.1), words)
    for prior in (torch.ones(3), torch.zeros(4)):
        with pytest.raises(ValueError, match="the prior must be 4 numbers"):
            posterior(bits, torch.tensor(0.1), words, prior)
    large = Labelling(((17,) * 6,), "index")
    with pytest.raises(ValueError, match="choose natural or gray"):
        word_posteriors(certain(large.tokens_to_bits(torch.zeros(1, 1, dtype=torch.int64))), large)


def test_the_grid_of_the_test_codec_is_fsqs(step_codec: Any) -> None:
    tokens = torch.arange(50).reshape(1, 50, 1)
    assert torch.equal(step_codec.latents_to_tokens(step_codec.tokens_to_latents(tokens)), tokens)
    assert fsq.digits_to_values(torch.arange(4)[:, None], (4,)).flatten().tolist() == [-1, -0.5, 0, 0.5]
