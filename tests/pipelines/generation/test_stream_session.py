"""Live sessions: the same audio as a call, changes at the next block, ends and stops, both kinds of generator."""

from itertools import islice
from typing import Any

import pytest
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of, seeded
from plain_codec import PlainCodec

from latentune.generators.base import LatentGenerator, TokenizerBinding, TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.generators.language import TokenLM, TokenLMConfig
from latentune.pipelines.generation.pipeline import GenerationPipeline

CONDITIONING = ConditioningConfig(
    width=8,
    conditioners={
        "text": {"kind": "bytes", "layers": 1, "heads": 2, "num_tokens": 2},
        "seconds": {"kind": "seconds"},
    },
)
KINDS = ["diffusion", "language"]
OPTIONS: dict[str, Any] = {"diffusion": {"num_inference_steps": 2}, "language": {}}
BLOCK = {"diffusion": 240, "language": 960}  # samples


def generator(kind: str, codec: PlainCodec) -> LatentGenerator:
    dim, known = codec.spec.latent_dim, TrainedOn(conditions=("text",), given=True)
    binding = TokenizerBinding(
        spec=codec.spec, fingerprint=codec.fingerprint(), latent_mean=(0.0,) * dim, latent_std=(0.1,) * dim
    )
    sizes: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "conditioning": CONDITIONING, "trained_on": known}
    if kind == "diffusion":
        return DiffusionTransformer(
            DiffusionTransformerConfig(
                binding=binding, attention="chunk_causal", block_chunks=3, max_frames=24, **sizes
            )
        )
    return TokenLM(TokenLMConfig(binding=binding, digit_width=8, max_frames=32, **sizes))


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pipe(kind: str) -> GenerationPipeline:
    codec = PlainCodec().eval()
    model = generator(kind, codec).eval()
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=source) * (0.3 if weight.ndim > 1 else 1.0))
    return GenerationPipeline(codec, model)


def test_the_pieces_together_are_what_a_call_gives(pipe: GenerationPipeline, kind: str) -> None:
    whole = pipe("a", duration_s=0.6, generator=seeded(2), guidance_scale=2.0, **OPTIONS[kind])
    session = pipe.stream("a", duration_s=0.6, generator=seeded(2), guidance_scale=2.0, **OPTIONS[kind])
    pieces = list(session)
    assert len(pieces) > 2
    assert pieces[0].shape == (2, BLOCK[kind] - 1)  # the decoder holds one sample back
    assert session.sample_rate == 4000
    assert torch.equal(torch.cat(pieces, -1), whole.item(0))


def test_an_endless_session_ends_when_it_is_stopped(pipe: GenerationPipeline, kind: str) -> None:
    session = pipe.stream("a", generator=seeded(), **OPTIONS[kind])
    first = list(islice(session, 3))
    assert sum(piece.shape[-1] for piece in first) == 3 * BLOCK[kind] - 1
    session.stop()
    rest = list(session)
    assert [piece.shape for piece in rest] == [(2, 1)]  # what the decoder held back
    assert list(session) == []


def test_changes_are_heard_from_the_next_piece_on(pipe: GenerationPipeline, kind: str) -> None:
    def pieces(change: Any) -> list[torch.Tensor]:
        session = pipe.stream("a", generator=seeded(), **OPTIONS[kind])
        start = list(islice(session, 2))
        change(session)
        return start + list(islice(session, 2))

    base = pieces(lambda session: None)

    def prompt(session: Any) -> None:
        session.prompt = "something else"
        assert session.prompt == "something else"

    def guidance(session: Any) -> None:
        session.guidance = 4.0
        assert session.guidance == 4.0

    for change in (prompt, guidance):
        changed = pieces(change)
        assert all(torch.equal(a, b) for a, b in zip(base[:2], changed[:2], strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(base[2:], changed[2:], strict=True))


def test_a_language_model_runs_past_its_context_in_constant_memory() -> None:
    codec = PlainCodec().eval()
    stream: Any = GenerationPipeline(codec, generator("language", codec).eval()).stream("a", generator=seeded()).stream
    kept = set()
    for _ in range(8):
        stream.next_block()
        kept.add((stream._context._past.shape, stream._context._cache.capacity, stream._left.shape[1] < 32))
    assert len(kept) == 1
    assert stream._context.first_patch > 32


def test_what_a_session_cannot_do_is_refused(pipe: GenerationPipeline, kind: str) -> None:
    session = pipe.stream("a", generator=seeded(), **OPTIONS[kind])
    with pytest.raises(ValueError, match="made without label"):
        session.set_conditions(label="rock")
    with pytest.raises(ValueError, match="guidance_scale must be 0 or more"):
        session.guidance = -1.0
    with pytest.raises(TypeError):
        session.set_options(nothing=1)
    with pytest.raises(ValueError, match="positive number of seconds"):
        pipe.stream("a", duration_s=0.0)


def test_a_generator_that_cannot_stream_says_so() -> None:
    codec = PlainCodec().eval()
    pipe = GenerationPipeline(codec, NoiseGenerator(NoiseConfig(binding=binding_of(codec))).eval())
    with pytest.raises(ValueError, match="a NoiseGenerator cannot stream"):
        pipe.stream("a")
