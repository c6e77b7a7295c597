"""The RVQ baseline: residual coding, fitted once, the same for the same seed."""

from __future__ import annotations

import pytest
import torch

from latentune.pipelines.measure.channel.labelling import Labelling
from latentune.pipelines.measure.channel.soft import word_posteriors
from latentune.pipelines.measure.channel.systems import RVQTokens
from latentune.pipelines.measure.codecs.rvq import RVQBaseline, matching_codebooks
from latentune.tokenizers.base import AudioTokenizer


@pytest.fixture(scope="module")
def latents() -> torch.Tensor:
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def baseline(latents: torch.Tensor) -> RVQBaseline:
    pytest.importorskip("vector_quantize_pytorch")
    return RVQBaseline.fit(latents, num_codebooks=4, codebook_size=16)


def test_each_stage_brings_latents_nearer(baseline: RVQBaseline, latents: torch.Tensor) -> None:
    tokens = baseline.encode(latents)
    assert tokens.shape == (400, 4)
    assert baseline.levels == ((16,),) * 4
    partial = [RVQBaseline(baseline.codebooks[:q]).decode(tokens[:, :q]) for q in range(1, 5)]
    errors = [(latents - stage).square().mean().item() for stage in partial]
    assert 1 > errors[0] > errors[1] > errors[2] > errors[3]
    torch.testing.assert_close(baseline.decode(tokens), sum(baseline.codebooks[q][tokens[:, q]] for q in range(4)))
    nearest = (latents[:, None] - baseline.codebooks[0]).square().sum(-1).argmin(-1)
    assert torch.equal(tokens[:, 0], nearest)


def test_same_seed_same_codebooks_and_the_global_generator_is_left_alone(
    baseline: RVQBaseline, latents: torch.Tensor
) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    again = RVQBaseline.fit(latents, num_codebooks=4, codebook_size=16)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(again.codebooks, baseline.codebooks)
    other = RVQBaseline.fit(latents, num_codebooks=4, codebook_size=16, seed=1)
    assert not torch.equal(other.codebooks, baseline.codebooks)


def test_the_mean_of_certain_tokens_is_their_latents(baseline: RVQBaseline, latents: torch.Tensor) -> None:
    from latentune.pipelines.measure.channel.channel import Received

    labelling, tokens = Labelling(baseline.levels), baseline.encode(latents)
    received = Received(bits=labelling.tokens_to_bits(tokens), flip_probability=torch.tensor(0.0))
    mean = baseline.mean_latents(word_posteriors(received, labelling))
    torch.testing.assert_close(mean, baseline.decode(tokens))


def test_the_bit_rate_is_matched(step_codec: AudioTokenizer, baseline: RVQBaseline) -> None:
    assert step_codec.spec.packed_bitrate_bps == 800  # 16 bits 50 times a second
    assert [matching_codebooks(step_codec.spec, size) for size in (16, 256, 1024, 2**20)] == [4, 2, 2, 1]
    assert RVQTokens(step_codec, baseline).frame_rate_hz() == 50


def test_bad_input(baseline: RVQBaseline, latents: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="400 latent frames are too few for codebooks of 1024"):
        RVQBaseline.fit(latents, num_codebooks=1)
    with pytest.raises(ValueError, match="finite"):
        RVQBaseline.fit(latents * torch.nan, num_codebooks=1, codebook_size=4)
    with pytest.raises(ValueError, match="at least 2 entries"):
        RVQBaseline.fit(latents, num_codebooks=0, codebook_size=4)
    with pytest.raises(ValueError, match=r"0\.\.15"):
        baseline.decode(torch.full((1, 4), 16))
    with pytest.raises(ValueError, match=r"\[T, 4\]"):
        baseline.decode(torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"\[T, 6\]"):
        baseline.encode(latents[:, :5])
