"""Edits of a recording: what is kept is kept bit for bit, what is asked for is new, borders are cross-faded."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of, seeded
from plain_codec import PlainCodec

from latentune.generators.base import TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.pipelines.generation.given_audio import put_back
from latentune.pipelines.generation.pipeline import GenerationPipeline

RATE = 4000


@pytest.fixture
def pipe() -> GenerationPipeline:
    codec = PlainCodec().eval()
    return GenerationPipeline(codec, NoiseGenerator(NoiseConfig(binding=binding_of(codec))).eval())


@pytest.fixture(scope="module")
def recording() -> torch.Tensor:
    return torch.randn(2, 4_000, generator=seeded(3)) * 0.1


def changed(before: torch.Tensor, after: torch.Tensor) -> list[tuple[int, int]]:
    """Spans of samples that differ; gaps of less than 20 samples are closed."""
    places = (before != after).any(0).nonzero().flatten().tolist()
    spans: list[tuple[int, int]] = []
    for place in places:
        if spans and place - spans[-1][1] < 20:
            spans[-1] = (spans[-1][0], place + 1)
        else:
            spans.append((place, place + 1))
    return spans


def test_regions_are_replaced_with_their_chunks_and_all_else_is_the_recording(
    pipe: GenerationPipeline, recording: torch.Tensor
) -> None:
    chunk, fade = pipe.spec.chunk_samples, round(0.02 * RATE)
    regions = [(0.5, 0.6), (0.1, 0.2)]
    out = pipe.inpaint(recording, RATE, regions=regions, prompt="a", generator=seeded())
    assert out.audio.shape == (1, 2, 4_000)
    spans = changed(recording, out.audio[0])
    for (start, stop), (start_s, stop_s) in zip(spans, sorted(regions), strict=True):
        low, high = int(start_s * RATE) // chunk * chunk, -(-int(stop_s * RATE) // chunk) * chunk
        assert low - fade <= start <= low
        assert high <= stop <= high + fade
    again = pipe.inpaint(recording, RATE, regions=regions, prompt="a", generator=seeded())
    assert torch.equal(out.audio, again.audio)


def test_a_continuation_begins_with_the_recording_and_has_the_length(
    pipe: GenerationPipeline, recording: torch.Tensor
) -> None:
    out = pipe.continue_(recording, RATE, extra_s=0.3, num_per_prompt=2, generator=seeded())
    assert out.audio.shape == (2, 2, 4_000 + 1_200)
    chunk = pipe.spec.chunk_samples
    kept = (4_000 - max(0, pipe.spec.overlap_samples)) // chunk * chunk - round(0.02 * RATE)
    assert torch.equal(out.audio[0, :, :kept], recording[:, :kept])
    assert not torch.equal(out.audio[0, :, 4_000:], out.audio[1, :, 4_000:])
    assert out.audio[:, :, 4_100:].abs().amax() > 0


def test_a_generator_with_a_longest_item_continues_in_pieces_and_hears_what_fits(recording: torch.Tensor) -> None:
    class Short(NoiseGenerator):
        longest_s = 0.4

    codec = PlainCodec().eval()
    generator = Short(NoiseConfig(binding=binding_of(codec))).eval()
    pipe = GenerationPipeline(codec, generator)
    out = pipe.continue_(recording, RATE, extra_s=0.5, num_per_prompt=2, generator=seeded())
    assert out.audio.shape == (2, 2, 6_000)
    totals = [call["conditions"].values["seconds"][0][1] for call in generator.calls]
    assert len(totals) == 3
    assert max(totals) <= 0.4
    generator.calls.clear()
    inpainted = pipe.inpaint(recording, RATE, regions=[(0.5, 0.55)], generator=seeded())
    assert inpainted.audio.shape == (1, 2, 4_000)
    assert generator.calls[0]["conditions"].values["seconds"][0][1] <= 0.4
    spans = changed(recording, inpainted.audio[0])
    assert len(spans) == 1
    assert 1_840 <= spans[0][0] <= 2_000
    assert 2_200 <= spans[0][1] <= 2_320
    with pytest.raises(ValueError, match="too far apart"):
        pipe.inpaint(recording, RATE, regions=[(0.05, 0.1), (0.7, 0.8)])


def test_a_loop_leads_from_its_end_to_its_start(pipe: GenerationPipeline, recording: torch.Tensor) -> None:
    chunk, fade = pipe.spec.chunk_samples, round(0.02 * RATE)
    out = pipe.loop(recording, RATE, join_s=chunk / RATE, generator=seeded())
    length = 4_000 // chunk * chunk
    assert out.audio.shape == (1, 2, length)
    body = out.audio[0, :, fade : length - chunk - fade]
    assert torch.equal(body, recording[:, fade : length - chunk - fade])
    assert not torch.equal(out.audio[0, :, length - chunk :], recording[:, length - chunk : length])


def test_a_variation_is_one_request_of_all_chunks_with_noise(pipe: GenerationPipeline, recording: torch.Tensor) -> None:
    seen: list[Any] = []
    sample = pipe.generator.sample

    def watched(*args: Any, given: Any = None, **rest: Any) -> Any:
        seen.append(given)
        return sample(*args, given=given, **rest)

    pipe.generator.sample = watched  # type: ignore[method-assign]
    try:
        out = pipe.vary(recording, RATE, strength=0.4, generator=seeded())
    finally:
        pipe.generator.sample = sample  # type: ignore[method-assign]
    assert out.audio.shape == (1, 2, 4_000)
    assert seen[0].noise_level == 0.4
    assert seen[0].keep.all()


def test_regions_of_given_audio_are_kept_and_a_warning_says_what_the_generator_lacks(
    pipe: GenerationPipeline, recording: torch.Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    chunk = pipe.spec.chunk_samples
    keep = [(1.5 * chunk / RATE, 4.5 * chunk / RATE)]
    out = pipe("a", given=(recording, RATE), keep=keep, duration_s=1.0, generator=seeded())
    encoded = pipe.tokenizer.encode(recording[None], RATE).latents[0]
    kept = slice(2 * pipe.spec.chunk_latents, 4 * pipe.spec.chunk_latents)
    assert out.latents is not None
    assert torch.equal(out.latents[0, kept], encoded[kept])
    around = slice(pipe.spec.chunk_latents, 2 * pipe.spec.chunk_latents)
    assert not torch.isclose(out.latents[0, around], encoded[around]).any()
    assert "not trained with given audio" in caplog.text


def test_the_original_and_the_decoded_audio_are_cross_faded_in_what_was_kept() -> None:
    class Spec:
        chunk_samples, sample_rate = 1000, 24_000

    original, made = torch.zeros(1, 2, 4500), torch.ones(3, 2, 5000)
    replaced = torch.tensor([False, False, True, False, False])
    mixed = put_back(original, made, replaced, Spec())  # type: ignore[arg-type]
    assert mixed.shape == (3, 2, 5000)
    row, fade = mixed[0, 0], 480
    assert not row[: 2000 - fade].any()
    assert row[2000:3000].eq(1).all()
    assert not row[3000 + fade : 4500 - fade].any()
    assert row[4500:].eq(1).all()
    for part in (row[2000 - fade : 2000], row[3000 : 3000 + fade].flip(0), row[4500 - fade : 4500]):
        assert (part[1:] > part[:-1]).all()
        assert 0 < part[0] < part[-1] < 1


@pytest.mark.parametrize(
    ("edit", "arguments", "message"),
    [
        ("inpaint", {"regions": []}, "no region is given"),
        ("inpaint", {"regions": [(0.2, 0.1)]}, "must lie within the audio, 0 to 1 s"),
        ("inpaint", {"regions": [(0.2, 1.1)]}, "must lie within the audio"),
        ("inpaint", {"regions": [(0.2, float("inf"))]}, "finite ends"),
        ("continue_", {"extra_s": 0.0}, "positive number of seconds"),
        ("vary", {"strength": 0.0}, r"strength must lie in 0\.\.1"),
        ("vary", {"strength": 1.5}, r"strength must lie in 0\.\.1"),
        ("loop", {"join_s": 0.5}, "too short for a loop"),
        ("loop", {"join_s": 0.1, "decode": False}, "decode=False: this edit joins"),
        ("continue_", {"decode": False}, "decode=False: this edit joins"),
    ],
)
def test_wrong_edits_are_refused(
    pipe: GenerationPipeline, recording: torch.Tensor, edit: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(pipe, edit)(recording, RATE, **arguments)


def test_audio_without_channels_is_refused_and_all_of_a_recording_can_be_replaced(
    pipe: GenerationPipeline, recording: torch.Tensor
) -> None:
    for edit in (pipe.continue_, pipe.vary, pipe.loop):
        with pytest.raises(ValueError, match=r"\[channels, samples\]"):
            edit(recording[0], RATE)
    out = pipe.inpaint(recording, RATE, regions=[(0.0, 1.0)], generator=seeded())
    assert not torch.isclose(out.audio[0], recording).all()


def test_a_generator_that_sees_only_the_past_replaces_the_end_and_says_what_fills_gaps(recording: torch.Tensor) -> None:
    codec = PlainCodec().eval()
    dim = codec.spec.latent_dim
    config = DiffusionTransformerConfig(
        binding=replace(binding_of(codec), latent_mean=(0.0,) * dim, latent_std=(1.0,) * dim),
        width=16,
        depth=1,
        heads=2,
        attention="chunk_causal",
        conditioning=ConditioningConfig(width=8, conditioners={}),
        trained_on=TrainedOn(given=True),
    )
    pipe, options = GenerationPipeline(codec, DiffusionTransformer(config).eval()), {"num_inference_steps": 1}
    out = pipe.inpaint(recording, RATE, regions=[(0.9, 1.0)], generator=seeded(), **options)
    ((start, stop),) = changed(recording, out.audio[0])
    assert 0.9 - 2 * pipe.spec.chunk_samples / RATE < start / RATE <= 0.9
    assert stop == recording.shape[1]
    message = (
        r"reach to the end, .*of [\d.]+ s .*trained with model.config.attention=both or full, "
        r"which fills gaps and makes loops"
    )
    with pytest.raises(ValueError, match=message):
        pipe.inpaint(recording, RATE, regions=[(0.4, 0.5)], **options)
    with pytest.raises(ValueError, match=message):
        pipe.loop(recording, RATE, join_s=0.1, **options)
