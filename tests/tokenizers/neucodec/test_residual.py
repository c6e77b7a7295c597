"""NeuCodec with residual codebooks in the place of FSQ: the codec that its tokens are compared with on a channel."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.load import load_tokenizer
from latentune.tokenizers.neucodec import NeuCodec, NeuCodecConfig
from latentune.tokenizers.neucodec.residual import ResidualQuantiser
from latentune.tokenizers.parts.residual import ResidualConfig

RATE = 16000


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def untrained() -> NeuCodec:
    pytest.importorskip("vector_quantize_pytorch")
    torch.manual_seed(0)
    return NeuCodec(replace(NeuCodecConfig.tiny(), residual=ResidualConfig())).eval()


@pytest.fixture(scope="module")
def codec() -> NeuCodec:
    """After a step of training, which places the codebooks."""
    codec = untrained().train()
    codec(noise(6, 1, 320 * 100))
    return codec.eval()


def test_it_has_the_rate_of_fsq_and_the_same_parameters_beside(codec: NeuCodec, tiny_neucodec: NeuCodec) -> None:
    assert codec.spec.levels == ((256,), (256,))
    assert codec.spec.packed_bitrate_bps == tiny_neucodec.spec.packed_bitrate_bps == 800
    assert {name: p.shape for name, p in codec.named_parameters()} == {
        name: p.shape for name, p in tiny_neucodec.named_parameters()
    }


def test_tokens_stand_for_sums_of_the_nearest_entries(codec: NeuCodec) -> None:
    assert isinstance(codec.quantiser, ResidualQuantiser)
    encoded = codec.encode(noise(2, 1, RATE, seed=1), RATE)
    assert encoded.tokens.shape == (2, 50, 2)
    assert len(encoded.tokens[..., 0].unique()) > 20
    values, (first, second) = codec.latents_to_values(encoded.latents), codec.quantiser.residual.codebooks
    coarse = (values[..., None, :] - first).square().sum(-1).argmin(-1)
    assert torch.equal(encoded.tokens[..., 0], coarse)
    made = codec.tokens_to_values(encoded.tokens)
    torch.testing.assert_close(made, first[encoded.tokens[..., 0]] + second[encoded.tokens[..., 1]])
    errors = [(values - one).square().mean() for one in (made, first[coarse], torch.zeros(()))]
    assert errors[0] < errors[1] < errors[2]
    audio = codec.decode(tokens=encoded.tokens, lengths_samples=encoded.lengths_samples)
    torch.testing.assert_close(audio, codec.decode(latents=codec.tokens_to_latents(encoded.tokens)), atol=1e-5, rtol=0)


def test_encoding_before_and_after_training_moves_no_codebook(codec: NeuCodec) -> None:
    fresh = untrained()
    assert not fresh.encode(noise(1, 1, RATE), RATE).tokens.any()  # there is one token as yet
    for one in (fresh, codec):
        before = one.fingerprint()
        one.encode(noise(1, 1, RATE), RATE)
        one(noise(1, 1, 3200))
        assert one.fingerprint() == before


def test_the_gradient_passes_as_if_nothing_were_coded(codec: NeuCodec) -> None:
    codec.train()
    try:
        values = noise(2, 5, 8).requires_grad_()
        coded = codec.quantiser.straight_through(values)
    finally:
        codec.eval()
    weights = noise(2, 5, 8, seed=2)
    (coded * weights).sum().backward()
    assert not torch.equal(coded, values)
    assert torch.equal(values.grad, weights)  # type: ignore[arg-type]


def test_a_saved_one_is_the_same(codec: NeuCodec, tmp_path: Path) -> None:
    codec.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.spec == codec.spec
    audio = noise(1, 1, RATE)
    assert torch.equal(again.encode(audio, RATE).tokens, codec.encode(audio, RATE).tokens)
