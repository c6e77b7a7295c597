"""The sampling pipeline as an object."""

import math
from typing import Any

import pytest
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of, seeded

from latentune.core.errors import MismatchError
from latentune.generators.base import TokenizerBinding
from latentune.generators.given import Given
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.generation.saved import PipelineDefaults


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference, in units of the largest value."""
    return float((a - b).abs().max() / a.abs().max())


SECONDS = 0.1


def test_one_item_for_each_prompt_and_repetition_of_the_length_asked(pipe: GenerationPipeline) -> None:
    out = pipe(["a", "bb"], duration_s=[0.1, 0.05], num_per_prompt=2, labels=["music", None], generator=seeded())
    assert out.audio.shape == (4, 2, 4800)
    assert out.sample_rate == 48000
    assert out.prompts == ["a", "a", "bb", "bb"]
    assert out.lengths_samples.tolist() == [4800, 4800, 2400, 2400]
    assert out.item(3).shape == (2, 2400)
    assert not out.audio[3, :, 2400:].any()
    assert out.item(3).any()
    assert out.latents is not None
    assert out.tokens is None
    conditions = pipe.generator.calls[0]["conditions"]  # type: ignore[operator, index]
    assert conditions.values["label"] == ["music", "music", None, None]
    assert conditions.values["seconds"] == [(0.0, 0.1), (0.0, 0.1), (0.0, 0.05), (0.0, 0.05)]


def test_the_same_seed_gives_the_same_audio_and_another_seed_another(pipe: GenerationPipeline) -> None:
    first, again, other = (pipe("a", duration_s=SECONDS, generator=seeded(s)).audio for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert difference(first, other) > 0.1


def test_an_item_does_not_depend_on_how_many_come_after_it(pipe: GenerationPipeline) -> None:
    alone = pipe("a", duration_s=SECONDS, generator=seeded()).audio[0]
    together = pipe(["a", "bbb"], duration_s=SECONDS, generator=seeded()).audio
    assert difference(alone, together[0]) < 1e-4
    assert difference(together[0], together[1]) > 0.1


@pytest.mark.parametrize("stream", ["latents", "tokens"])
def test_pieces_of_an_item_are_what_a_call_decodes(tiny_codec: Any, stream: str) -> None:
    generator = NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec), stream=stream)).eval()
    pipe = GenerationPipeline(tiny_codec, generator, PipelineDefaults(decode={"steps": 1, "max_chunks": 1}))
    asked: dict[str, Any] = {"prompt": ["a", "bbb"], "duration_s": [0.1, 0.05]}
    whole = pipe(**asked, generator=seeded())
    later = pipe(**asked, generator=seeded(), decode=False)
    assert later.audio.shape == (2, 2, 0)
    for index in (1, 0):  # the noise of an item does not depend on what was decoded before
        pieces = list(later.pieces(index))
        assert len(pieces) > 1
        assert difference(torch.cat(pieces, -1), whole.item(index)) < 1e-4
        assert torch.equal(later.item(index), torch.cat(pieces, -1))
        assert torch.equal(next(whole.pieces(index)), whole.item(index))
    assert difference(whole.item(0)[:, :2400], whole.item(1)) > 0.1


def test_tokens_are_decoded_as_tokens(tiny_codec: Any) -> None:
    generator = NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec), stream="tokens")).eval()
    out = GenerationPipeline(tiny_codec, generator)("a", duration_s=SECONDS, generator=seeded())
    assert out.latents is None
    assert out.tokens is not None
    assert out.tokens.dtype == torch.int64
    assert out.audio.shape == (1, 2, 4800)


def test_options_reach_generator_and_decoder_over_the_defaults(tiny_codec: Any) -> None:
    generator = NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec))).eval()
    defaults = PipelineDefaults(duration_s=0.05, guidance_scale=3.0, sample={"strength": 0.5}, decode={"steps": 1})
    pipe = GenerationPipeline(tiny_codec, generator, defaults)
    one_step = pipe(generator=seeded())
    assert one_step.audio.shape[-1] == 2400
    assert generator.calls[-1]["guidance_scale"] == 3.0
    assert generator.calls[-1]["options"].strength == 0.5
    pipe(generator=seeded(), guidance_scale=1.5, strength=2.0)
    assert generator.calls[-1]["guidance_scale"] == 1.5
    assert generator.calls[-1]["options"].strength == 2.0
    assert not torch.equal(one_step.audio, pipe(generator=seeded(), decode_options={"steps": 2}).audio)


def test_every_item_begins_with_what_it_continues(pipe: GenerationPipeline) -> None:
    chunk_s = pipe.spec.chunk_samples / 48000
    start = torch.randn(1, 12000, generator=seeded(3)) * 0.1
    steps: list[tuple[int, int]] = []
    out = pipe(
        "a",
        duration_s=6 * chunk_s,
        given=(start, 48000),
        generator=seeded(),
        callback=lambda done, total: steps.append((done, total)),
    )
    whole = 12000 // pipe.spec.chunk_samples * pipe.spec.chunk_latents
    encoded = pipe.tokenizer.encode(start[None], 48000).latents
    assert out.latents is not None
    assert torch.equal(out.latents[0, :whole], encoded[0, :whole])
    assert not torch.equal(out.latents[0, whole : whole + 2], encoded[0, whole : whole + 2])
    assert steps == [(1, 1)]


def test_any_chunks_can_be_given(pipe: GenerationPipeline) -> None:
    chunk_s = pipe.spec.chunk_samples / 48000
    encoded = pipe.tokenizer.encode(torch.randn(1, 1, 12000, generator=seeded(3)) * 0.1, 48000)
    keep = torch.tensor([[False, True, True]])
    given = Given(encoded=encoded, keep=keep)
    out = pipe("a", duration_s=6 * chunk_s, given=given, generator=seeded())
    frames = keep.repeat_interleave(pipe.spec.chunk_latents, 1)[0]
    assert out.latents is not None
    assert torch.equal(out.latents[0, : len(frames)][frames], encoded.latents[0, : len(frames)][frames])
    assert not torch.equal(out.latents[0, 0], encoded.latents[0, 0])
    with pytest.raises(ValueError, match="keep names regions of given audio"):
        pipe("a", duration_s=6 * chunk_s, given=given, keep=[(0.0, chunk_s)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"duration_s": 0.0}, "positive number of seconds"),
        ({"duration_s": -1.0}, "positive number of seconds"),
        ({"duration_s": math.nan}, "positive number of seconds"),
        ({"duration_s": math.inf}, "positive number of seconds"),
        ({"num_per_prompt": 0}, "at least one"),
        ({"prompt": []}, "at least one"),
        ({"prompt": ["a", "b"], "duration_s": [1.0]}, "2 prompts, but 1 durations"),
        ({"prompt": ["a", "b"], "labels": ["music"]}, "1 labels"),
        ({"conditions": {"bpm": [1, 2]}}, "1 prompts, but 2 values of the condition bpm"),
        ({"conditions": {"text": "a"}}, "text has an argument of its own"),
        ({"given": (torch.zeros(2, 100), 48000)}, "no whole chunk to continue"),
        ({"given": (torch.zeros(2, 48000), 48000)}, "longer duration"),
        ({"given": (torch.zeros(48000), 48000)}, r"\[channels, samples\]"),
        ({"given": (torch.full((1, 9000), math.nan), 48000)}, "NaN"),
    ],
)
def test_bad_calls_are_refused(pipe: GenerationPipeline, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(**{"duration_s": SECONDS, **arguments})


@pytest.mark.parametrize("prompt", [5, ["a", 5], None])
def test_a_prompt_that_is_no_text_is_refused(pipe: GenerationPipeline, prompt: Any) -> None:
    with pytest.raises(TypeError, match="prompt must be a text or a list of texts"):
        pipe(prompt, duration_s=0.1)


def test_a_generator_of_another_tokenizer_is_refused(tiny_codec: Any) -> None:
    binding = TokenizerBinding(spec=tiny_codec.spec, fingerprint="f" * 64)
    with pytest.raises(MismatchError, match="trained on streams of the tokenizer ffffffffffff"):
        GenerationPipeline(tiny_codec, NoiseGenerator(NoiseConfig(binding=binding)))
