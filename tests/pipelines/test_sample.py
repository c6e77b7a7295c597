"""The sampling pipeline as an object, as a folder, and as a folder of samples."""

import json
import math
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from latentune.core.errors import AudioError, CheckpointError, ConfigError, MismatchError, MissingPackageError
from latentune.core.random import randn
from latentune.generators.base import Generated, LatentGenerator, SamplingConfig, TokenizerBinding, TrainedOn
from latentune.generators.conditions import Conditions
from latentune.generators.given import Given
from latentune.generators.parts.request import check_request, lay_given
from latentune.pipelines.generation import load as pipeline_table
from latentune.pipelines.generation.load import build_pipeline, load_pipeline
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.generation.prompts import read_prompts
from latentune.pipelines.generation.saved import PipelineDefaults
from latentune.pipelines.sample import SampleConfig, sample_to_folder


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    binding: TokenizerBinding
    stream: str = "latents"
    trained_on: TrainedOn = field(default_factory=lambda: TrainedOn(conditions=("text", "label", "bpm")))


@dataclass(frozen=True, kw_only=True)
class NoiseSampling(SamplingConfig):
    strength: float = 1.0


class NoiseGenerator(LatentGenerator):
    """The smallest generator: each item's stream is noise of its own, with its prompt's length added."""

    config_class = NoiseConfig
    sampling_class = NoiseSampling

    def __init__(self, config: NoiseConfig):
        super().__init__(config)
        self.stream = config.stream  # type: ignore[assignment]
        self.gain = torch.nn.Parameter(torch.ones(1))
        self.calls: list[dict[str, Any]] = []

    def sample(
        self,
        conditions: Conditions,
        lengths_samples: torch.Tensor,
        *,
        sampling: SamplingConfig | None = None,
        given: Given | None = None,
        generator: torch.Generator | None = None,
        callback: Any = None,
    ) -> Generated:
        options = self.check_sampling(sampling)
        self.calls.append({"conditions": conditions, "guidance_scale": options.guidance_scale, "options": options})
        spec, texts = self.binding.spec, conditions.values["text"]
        request = check_request(spec, conditions, lengths_samples, given)
        frames = spec.num_latents(int(lengths_samples.max()))
        noise = torch.stack([randn((frames, spec.latent_dim), generator, self.gain) for _ in texts])
        latents = noise * self.gain * options.strength + torch.tensor([len(t) / 50 for t in texts])[:, None, None]
        if given is not None:
            known, where = lay_given(given.encoded.latents, request.keep, spec.chunk_latents, latents)
            latents = torch.where(where[..., None], known, latents)
        if callback is not None:
            callback(1, 1)
        tokens = None
        if self.stream == "tokens":
            chunks = spec.num_chunks(int(lengths_samples.max()))
            tokens = torch.randint(5, (len(conditions), chunks * spec.chunk_tokens, 1), generator=generator)
        return Generated(
            latents=None if tokens is not None else latents.detach(), tokens=tokens, lengths_samples=lengths_samples
        )


def binding_of(codec: Any) -> TokenizerBinding:
    return TokenizerBinding(spec=codec.spec, fingerprint=codec.fingerprint())


@pytest.fixture
def pipe(tiny_codec: Any) -> GenerationPipeline:
    return GenerationPipeline(tiny_codec, NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec))).eval())


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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
        continue_from=(start, 48000),
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
    with pytest.raises(ValueError, match="continue_from and given both say"):
        pipe("a", duration_s=6 * chunk_s, given=given, continue_from=(torch.zeros(1, 9000), 48000))


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
        ({"continue_from": (torch.zeros(2, 100), 48000)}, "no whole chunk to continue"),
        ({"continue_from": (torch.zeros(2, 48000), 48000)}, "longer duration"),
        ({"continue_from": (torch.zeros(48000), 48000)}, r"\[channels, samples\]"),
        ({"continue_from": (torch.full((1, 9000), math.nan), 48000)}, "NaN"),
    ],
)
def test_bad_calls_are_refused(pipe: GenerationPipeline, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(**{"duration_s": SECONDS, **arguments})


def test_a_generator_of_another_tokenizer_is_refused(tiny_codec: Any) -> None:
    binding = TokenizerBinding(spec=tiny_codec.spec, fingerprint="f" * 64)
    with pytest.raises(MismatchError, match="trained on streams of the tokenizer ffffffffffff"):
        GenerationPipeline(tiny_codec, NoiseGenerator(NoiseConfig(binding=binding)))


# ---------------------------------------------------------------------- folders


def test_a_saved_pipeline_samples_the_same(pipe: GenerationPipeline, tmp_path: Path) -> None:
    pipe.defaults = PipelineDefaults(duration_s=0.05, decode={"steps": 1})
    pipe.save_pretrained(tmp_path / "deep" / "pipe")
    pipe.save_pretrained(tmp_path / "deep" / "pipe")  # replaces what is there
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["pipe"]
    assert sorted(p.name for p in (tmp_path / "deep" / "pipe").iterdir()) == ["generator", "pipeline.json", "tokenizer"]
    loaded = load_pipeline(tmp_path / "deep" / "pipe")
    assert loaded.defaults == pipe.defaults
    assert torch.equal(loaded("a", generator=seeded()).audio, pipe("a", generator=seeded()).audio)


def test_a_shipped_tokenizer_is_referred_to_by_its_name(
    pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_codec.save_pretrained(str(tmp_path / "codec"))
    pipe.generator.save_pretrained(str(tmp_path / "generator"))
    for name in list(pipeline_table.SHIPPED_TOKENIZERS):
        monkeypatch.delitem(pipeline_table.SHIPPED_TOKENIZERS, name)
    monkeypatch.setitem(pipeline_table.SHIPPED_TOKENIZERS, "tiny", str(tmp_path / "codec"))
    build_pipeline("tiny", tmp_path / "generator", tmp_path / "pipe", torch_dtype=torch.float16)
    manifest = json.loads((tmp_path / "pipe" / "pipeline.json").read_text())
    assert manifest["tokenizer"] == "tiny"
    assert not (tmp_path / "pipe" / "tokenizer").exists()
    assert load_pipeline(tmp_path / "pipe").fingerprint == pipe.fingerprint
    # a generator alone does not name its tokenizer: the shipped one with its fingerprint is found
    assert load_pipeline(tmp_path / "generator").fingerprint == pipe.fingerprint


def test_a_pipeline_whose_tokenizer_was_exchanged_is_refused(
    pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    other = type(tiny_codec)(tiny_codec.settings)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(str(tmp_path / "pipe" / "tokenizer"))
    with pytest.raises(MismatchError, match="load it with the tokenizer it was saved with"):
        load_pipeline(tmp_path / "pipe")
    assert load_pipeline(tmp_path / "pipe", tokenizer=tiny_codec).fingerprint == pipe.fingerprint


def test_saving_does_not_touch_a_folder_with_other_files(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="choose a new folder"):
        pipe.save_pretrained(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_save_leaves_nothing_behind(
    pipe: GenerationPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(pipe.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        pipe.save_pretrained(tmp_path / "pipe")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no pipeline, training run, checkpoint or generator"),
        ("{", "not a pipeline's manifest"),
        ("[1]", "not a pipeline's manifest"),
        ('{"format_version": 99}', "format version 99"),
        ('{"format_version": 1, "tokeniser": "x"}', "did you mean 'tokenizer'"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "pipeline.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_pipeline(tmp_path)


def test_a_name_that_is_nothing_lists_what_ships() -> None:
    with pytest.raises(CheckpointError, match="codicodec-mini-dit"):
        load_pipeline("codicodec-mini-dti")


# ---------------------------------------------------------------------- sample_to_folder


def config(tmp_path: Path, **values: Any) -> SampleConfig:
    return SampleConfig(**{"pipeline": "p", "output": str(tmp_path / "out"), "seconds": SECONDS, **values})


def test_samples_are_written_with_all_that_repeats_them(pipe: GenerationPipeline, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    records = sample_to_folder(
        config(tmp_path, prompts=("Calm piano, größer!", ""), num=2, seed=7, batch_size=3, decode_options={"steps": 1}),
        pipeline=pipe,
        progress=lambda done, total: steps.append((done, total)),
    )
    names = ["000_calm-piano-groer", "001_calm-piano-groer", "002_sample", "003_sample"]
    assert [r["file"] for r in records] == [f"{name}.wav" for name in names]
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == sorted([f"{n}.{s}" for n in names for s in ("wav", "png", "json")] + ["sample.json"])
    info = soundfile.info(tmp_path / "out" / "000_calm-piano-groer.wav")
    assert (info.frames, info.channels, info.samplerate, info.subtype) == (4800, 2, 48000, "PCM_24")
    assert steps == [(3, 4), (4, 4)]
    record = json.loads((tmp_path / "out" / "003_sample.json").read_text())
    assert record == records[3]
    assert (record["seed"], record["row"]) == (10, 0)
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    # the JSON alone is enough to make the sample again
    again = pipe(
        **record["call"], generator=seeded(record["seed"]), decode_options=record["decode_options"], **record["options"]
    )
    audio, _ = soundfile.read(tmp_path / "out" / record["file"], dtype="float32")
    torch.testing.assert_close(again.item(record["row"]).T, torch.from_numpy(audio), rtol=0, atol=2**-22)


def test_the_same_config_writes_the_same_bytes(pipe: GenerationPipeline, tmp_path: Path) -> None:
    for name in ("a", "b"):
        sample_to_folder(
            config(tmp_path, output=str(tmp_path / name), prompts=("x",), num=2, spectrograms=False),
            pipeline=pipe,
        )
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n).glob("0*")} for n in ("a", "b"))
    assert len(first) == 4
    assert first == second
    assert first["000_x.wav"] != first["001_x.wav"]


def test_spectrograms_are_left_out_without_matplotlib_and_refused_where_asked_for(
    pipe: GenerationPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with caplog.at_level("INFO", logger="latentune"):
        sample_to_folder(config(tmp_path, prompts=("x",)), pipeline=pipe)
    assert sorted(path.suffix for path in (tmp_path / "out").glob("0*")) == [".json", ".wav"]
    assert "pip install 'latentune[report]'" in caplog.text
    asked = config(tmp_path, output=str(tmp_path / "asked"), prompts=("x",), spectrograms=True)
    with pytest.raises(MissingPackageError, match=r"spectrograms=true needs matplotlib: .*latentune\[report\]"):
        sample_to_folder(asked, pipeline=pipe)
    assert not (tmp_path / "asked").exists()


def test_a_second_call_replaces_the_samples_of_the_first(pipe: GenerationPipeline, tmp_path: Path) -> None:
    sample_to_folder(config(tmp_path, prompts=("x", "y"), num=2, spectrograms=False), pipeline=pipe)
    sample_to_folder(config(tmp_path, prompts=("z",), spectrograms=False), pipeline=pipe)
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == ["000_z.json", "000_z.wav", "sample.json"]
    assert json.loads((tmp_path / "out" / "sample.json").read_text())["files"] == ["000_z.json", "000_z.wav"]
    soundfile.write(tmp_path / "out" / "theirs.wav", [0.0] * 100, 48000)
    calls = len(pipe.generator.calls)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"sample\.json does not list, theirs\.wav"):
        sample_to_folder(config(tmp_path), pipeline=pipe)
    assert len(pipe.generator.calls) == calls  # type: ignore[arg-type]


def test_conditions_come_from_the_config_and_from_prompts(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "a", "conditions": {"bpm": 90}}\n{"text": "b"}\n')
    sample_to_folder(
        config(tmp_path, prompts_file=str(tmp_path / "p.jsonl"), conditions={"bpm": 120}, spectrograms=False),
        pipeline=pipe,
    )
    assert pipe.generator.calls[-1]["conditions"].values["bpm"] == [90, 120]  # type: ignore[operator, index]
    pipe(["a", "b"], duration_s=SECONDS, num_per_prompt=2, conditions={"bpm": [1, 2]})
    assert pipe.generator.calls[-1]["conditions"].values["bpm"] == [1, 1, 2, 2]  # type: ignore[operator, index]


def test_a_condition_that_was_never_seen_in_training_is_refused(tiny_codec: Any, caplog: Any) -> None:
    def piped(trained_on: TrainedOn) -> GenerationPipeline:
        return GenerationPipeline(
            tiny_codec, NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec), trained_on=trained_on)).eval()
        )

    blind = piped(TrainedOn(conditions=("label",)))
    with pytest.raises(ValueError, match=r"never saw a value of text in training.*\(seen: label\)"):
        blind("piano", duration_s=SECONDS)
    blind(["", " "], duration_s=SECONDS, labels=["music", None])
    unknown = piped(TrainedOn())
    with caplog.at_level("WARNING"):
        unknown("piano", duration_s=SECONDS)
        unknown("piano", duration_s=SECONDS)
    assert [r.getMessage() for r in caplog.records if "does not record" in r.getMessage()] == [
        "the generator does not record whether it was trained with text: it may do nothing"
    ]


def test_prompts_come_from_text_and_jsonl_files(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n\n two \n")
    (tmp_path / "p.jsonl").write_text('{"text": "three", "label": "music", "seconds": 2}\n{"prompt": "four"}\n')
    lines = read_prompts(("zero",), tmp_path / "p.txt")
    assert [line.text for line in lines] == ["zero", "one", "two"]
    lines = read_prompts((), str(tmp_path / "p.jsonl"))
    assert [(line.text, line.label, line.seconds) for line in lines] == [("three", "music", 2), ("four", None, None)]
    assert [line.text for line in read_prompts(())] == [""]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.txt", b"\n \n", "holds no prompt"),
        ("p.txt", b"\xff\xfe\x00", "not UTF-8"),
        ("p.pdf", b"x", "use .txt"),
        ("p.jsonl", b'{"text": "a"}\n{', "line 2 is not JSON"),
        ("p.jsonl", b'{"words": "a"}', "line 1: expected an object with a text"),
        ("p.jsonl", b'{"text": "a", "seconds": -1}', "seconds is -1"),
        ("p.jsonl", b'{"text": "a", "label": 3}', "label is 3"),
        ("p.jsonl", b'{"text": "a", "conditions": [3]}', r"conditions are \[3\]"),
    ],
)
def test_bad_prompt_files_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_prompts((), tmp_path / name)


def test_options_of_the_other_kind_of_generator_are_refused(pipe: GenerationPipeline, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"temperature, top_k is not an option of a NoiseGenerator: .*guidance"):
        sample_to_folder(config(tmp_path, options={"temperature": 1.0, "top_k": 3}), pipeline=pipe)
    with pytest.raises(ConfigError, match="did you mean 'strength'"):
        sample_to_folder(config(tmp_path, options={"strenght": 1.0}), pipeline=pipe)


@pytest.mark.parametrize(
    "values", [{"num": 0}, {"seed": -1}, {"batch_size": 0}, {"seconds": 0.0}, {"seconds": math.inf}]
)
def test_bad_configs_are_refused(tmp_path: Path, values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        config(tmp_path, **values)


def test_an_output_that_cannot_be_written_is_found_before_sampling(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="choose another output"):
            sample_to_folder(config(tmp_path, output=str(output)), pipeline=pipe)
    assert pipe.generator.calls == []


def test_a_missing_audio_to_continue_is_named(pipe: GenerationPipeline, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: no such file"):
        sample_to_folder(config(tmp_path, continue_from=str(tmp_path / "nowhere.wav")), pipeline=pipe)
