"""Texts are said sentence by sentence: order, lengths, pauses, streaming, and requests that cannot be met."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import third_party
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of, seeded

from latentune.core.errors import ConfigError
from latentune.generators.base import TokenizerBinding, TrainedOn
from latentune.generators.conditioning import ConditioningConfig
from latentune.generators.conditioning.durations import DurationModel
from latentune.generators.diffusion import DiffusionTransformer, DiffusionTransformerConfig
from latentune.pipelines.generation.pipeline import AudioOutput, GenerationPipeline
from latentune.pipelines.generation.sentences import SENTENCE_PAUSE_S
from latentune.pipelines.sample import SampleConfig, sample_to_folder

RATE = 8000
SYMBOL_S = {" ": 0.01, **dict.fromkeys("abcdefghijklmnopqrstuvwxyz.,?!", 0.02)}
DURATIONS = DurationModel(condition="transcript", symbol_s=SYMBOL_S, other_s=0.02, offset_s=0.04)
LONGEST_S = 0.6
STEPS = {"num_inference_steps": 2}


def speaker(name: str = "transcript", kind: str = "characters", *others: str) -> GenerationPipeline:
    """A pipeline with random weights that reads transcripts."""
    torch.manual_seed(0)
    codec = third_party.LinearCodec(third_party.LinearConfig(latent_dim=2)).eval()
    binding = TokenizerBinding(
        spec=codec.spec, fingerprint=codec.fingerprint(), latent_mean=(0.0, 0.0), latent_std=(1.0, 1.0)
    )
    parts: dict[str, Any] = {
        name: {"kind": kind, "layers": 1},
        **{other: {"kind": "number", "lowest": 0.0, "highest": 5.0} for other in others},
    }
    config = DiffusionTransformerConfig(
        binding=binding,
        width=16,
        depth=1,
        heads=2,
        conditioning=ConditioningConfig(width=8, conditioners=parts),
        trained_on=TrainedOn(crop_s=LONGEST_S, conditions=(name, *others), durations=DURATIONS),
    )
    generator = DiffusionTransformer(config)
    for parameter in generator.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return GenerationPipeline(codec, generator.eval())


@pytest.fixture(scope="module")
def pipe() -> GenerationPipeline:
    return speaker()


def lengths(output: AudioOutput) -> list[int]:
    return [int(length) for length in output.lengths_samples]


def test_a_text_is_as_long_as_its_sentences_and_pauses(pipe: GenerationPipeline) -> None:
    said = pipe.say(["abcd.", "Abcd. Efgh ij!"], generator=seeded(), **STEPS)
    one_s, other_s = (DURATIONS.seconds_of(text) for text in ("abcd.", "efgh ij!"))
    seconds = [one_s, one_s + SENTENCE_PAUSE_S + other_s]
    assert lengths(said) == [round(length_s * RATE) for length_s in seconds]
    assert said.prompts == ["abcd.", "Abcd. Efgh ij!"]
    start = round(one_s * RATE)
    assert said.item(1)[:, :start].any()
    assert not said.item(1)[:, start : start + round(SENTENCE_PAUSE_S * RATE)].any()
    assert lengths(pipe.say("abcd.", speed=2.0, **STEPS)) == [round(one_s / 2 * RATE)]


def test_the_same_noise_gives_the_same_speech_and_the_text_matters(pipe: GenerationPipeline) -> None:
    one, again, other = (pipe.say(text, generator=seeded(3), **STEPS).audio for text in ("abc.", "abc.", "abd."))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_sentences_of_a_batch_are_those_said_alone(pipe: GenerationPipeline) -> None:
    text = "Abcd. Ef ghi. Jkl! Mn."
    steps: list[tuple[int, int]] = []
    whole = pipe.say(
        text, generator=seeded(), batch_size=3, callback=lambda done, total: steps.append((done, total)), **STEPS
    )
    alone = pipe.say(text, generator=seeded(), batch_size=1, **STEPS)
    assert steps == [(3, 4), (4, 4)]
    assert lengths(whole) == lengths(alone)
    first = round(DURATIONS.seconds_of("abcd.") * RATE)
    torch.testing.assert_close(whole.audio[..., :first], alone.audio[..., :first], rtol=0, atol=1e-4)


def test_a_stream_gives_the_same_audio_sentence_by_sentence(pipe: GenerationPipeline) -> None:
    text = "Abcd. Ef ghi. Jkl!"
    parts = list(pipe.say_stream(text, generator=seeded(), **STEPS))
    assert len(parts) == 3
    assert torch.equal(torch.cat(parts, -1), pipe.say(text, generator=seeded(), batch_size=1, **STEPS).item(0))


def test_a_stream_samples_only_what_is_taken(pipe: GenerationPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    sample = DiffusionTransformer.sample

    def count(self: Any, conditions: Any, *arguments: Any, **options: Any) -> Any:
        made.extend(conditions.values["transcript"])
        return sample(self, conditions, *arguments, **options)

    monkeypatch.setattr(DiffusionTransformer, "sample", count)
    stream = pipe.say_stream("Abcd. Ef ghi.", **STEPS)
    assert made == []
    next(stream)
    assert made == ["Abcd."]


def test_no_piece_is_longer_than_the_training_examples(pipe: GenerationPipeline) -> None:
    text = "word " * 100
    pieces = pipe.pieces(text)
    assert " ".join(piece.text for piece in pieces).split() == text.split()
    assert max(pipe.generator.duration_of(piece.text) for piece in pieces) <= LONGEST_S
    assert len(pipe.pieces(text, speed=2.0)) < len(pieces)


def test_conditions_and_labels_are_those_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = speaker("transcript", "characters", "mood")
    asked: list[dict[str, Any]] = []
    sample = DiffusionTransformer.sample
    monkeypatch.setattr(
        DiffusionTransformer,
        "sample",
        lambda self, conditions, *a, **o: (asked.append(conditions.values), sample(self, conditions, *a, **o))[1],
    )
    pipe.say(["Ab. Cd.", "Ef."], conditions={"mood": [1.0, 2.0]}, **STEPS)
    assert asked[0]["transcript"] == ["Ab.", "Cd.", "Ef."]
    assert asked[0]["mood"] == [1.0, 1.0, 2.0]


def test_symbols_that_training_never_saw_are_named_once(caplog: pytest.LogCaptureFixture) -> None:
    pipe = speaker()
    for _ in range(2):
        pipe.say("I have 31 cats.", **STEPS)
    [message] = [record.message for record in caplog.records if "training data held no" in record.message]
    assert "held no 3 1: how it sounds" in message


def test_the_transcript_may_be_the_prompt() -> None:
    assert lengths(speaker("text").say("abcd.", **STEPS)) == lengths(speaker().say("abcd.", **STEPS))


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "nothing can be said of ''"),
        ("... ?!", {}, "at least one letter or digit"),
        ([], {}, "no text to say"),
        ("abc", {"speed": 0.0}, r"speed must lie in 0.25..4"),
        ("abc", {"speed": float("nan")}, "speed must lie"),
        ("abc", {"batch_size": 0}, "batch_size must be at least 1"),
        ("abc", {"voice": (torch.zeros(1, RATE), RATE)}, "a single voice"),
        ("abc", {"conditions": {"mood": 1.0}}, "mood"),
        (["abc", "de"], {"conditions": {"mood": [1.0]}}, "2 prompts, but 1 values"),
    ],
)
def test_what_cannot_be_said_is_refused(
    pipe: GenerationPipeline, text: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipe.say(text, **options)


def test_a_text_that_is_no_string_is_refused(pipe: GenerationPipeline) -> None:
    with pytest.raises(TypeError, match="must be a string, got int"):
        pipe.say([3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="nothing can be said"):
        pipe.say_stream("?")  # at once, not with the first piece


def test_a_pipeline_that_reads_no_transcripts_is_refused(tiny_codec: Any, tmp_path: Path) -> None:
    mute = GenerationPipeline(tiny_codec, NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec))).eval())
    with pytest.raises(ValueError, match="cannot speak, because its generator reads no transcripts"):
        mute.say("abc")
    with pytest.raises(ValueError, match="cannot speak"):
        sample_to_folder(SampleConfig(pipeline="p", output=str(tmp_path / "out"), say=("abc",)), pipeline=mute)


def test_a_pipeline_that_speaks_is_not_sampled_without_a_text(pipe: GenerationPipeline, tmp_path: Path) -> None:
    config: dict[str, Any] = {"pipeline": "p", "output": str(tmp_path / "out")}
    for asked in ({}, {"conditions": {"transcript": ""}}):
        with pytest.raises(ValueError, match="has no text to say: give one with say or say_file"):
            sample_to_folder(SampleConfig(**config, **asked), pipeline=pipe)
    assert not (tmp_path / "out").exists()
    said = SampleConfig(**config, conditions={"transcript": "abc"}, seconds=0.1, options={"steps": 1})
    assert len(sample_to_folder(said, pipeline=pipe)) == 1


def test_texts_are_said_to_a_folder(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("Abcd. Ef.\n\nGhi.\n")
    config = SampleConfig(
        pipeline="p",
        output=str(tmp_path / "out"),
        say=("Hello.",),
        say_file=str(tmp_path / "texts.txt"),
        speed=1.5,
        options=STEPS,
        seed=4,
    )
    records = sample_to_folder(config, pipeline=pipe)
    assert [record["say"] for record in records] == ["Hello.", "Abcd. Ef.", "Ghi."]
    assert [record["file"] for record in records] == ["000_hello.wav", "001_abcd-ef.wav", "002_ghi.wav"]
    record = json.loads((tmp_path / "out" / "001_abcd-ef.json").read_text())
    again = pipe.say(**record["call"], generator=seeded(record["seed"]), **record["options"])
    audio, _ = soundfile.read(tmp_path / "out" / record["file"], dtype="float32", always_2d=True)
    heard = again.item(record["row"]).clamp(-1, 1).T  # as a file of whole numbers holds it
    torch.testing.assert_close(heard, torch.from_numpy(audio), rtol=0, atol=2**-22)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"say": ("abc",), "prompts": ("calm piano",)}, "prompts cannot be combined with say"),
        ({"say": ("abc",), "seconds": 3.0}, "seconds cannot be combined with say"),
        ({"say_file": "x.txt", "continue_from": "a.wav"}, "continue_from cannot be combined"),
        ({"voice": "a.wav"}, "voice and speed belong to a text to speak"),
        ({"speed": 2.0}, "voice and speed belong to a text to speak"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SampleConfig(pipeline="p", output="o", **options)


def test_a_folder_of_speech_refuses_wrong_texts_before_it_is_made(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text('{"text": "abc", "seconds": 2}\n')
    output = str(tmp_path / "out")
    with pytest.raises(ValueError, match="has seconds, but its words decide"):
        sample_to_folder(
            SampleConfig(pipeline="p", output=output, say_file=str(tmp_path / "texts.jsonl")), pipeline=pipe
        )
    with pytest.raises(ValueError, match="nothing can be said"):
        sample_to_folder(SampleConfig(pipeline="p", output=output, say=("abc.", "!")), pipeline=pipe)
    with pytest.raises(ConfigError, match="is not an option"):
        sample_to_folder(SampleConfig(pipeline="p", output=output, say=("abc.",), options={"x": 1}), pipeline=pipe)
    assert not (tmp_path / "out").exists()
