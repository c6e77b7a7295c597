"""Prompts in, a folder of samples out."""

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of, seeded

from latentune.core.errors import AudioError, ConfigError, MissingPackageError
from latentune.generators.base import TrainedOn
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.generation.prompts import read_prompts
from latentune.pipelines.sample import SampleConfig, sample_to_folder

SECONDS = 0.1


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


def test_a_sample_is_written_as_it_is_decoded(
    pipe: GenerationPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next piece is decoded only when the one before is in the file, so that no more than one is in memory."""
    pieces = pipe.tokenizer.decode_pieces
    events: list[str] = []

    def watched(**arguments: Any) -> Any:
        for piece in pieces(**arguments):
            events.append("decoded")
            yield piece

    def written(self: Any, samples: Any) -> None:
        events.append("written")
        write(self, samples)

    write = soundfile.SoundFile.write
    monkeypatch.setattr(pipe.tokenizer, "decode_pieces", watched)
    monkeypatch.setattr(soundfile.SoundFile, "write", written)
    asked = config(tmp_path, num=2, spectrograms=False, decode_options={"steps": 1, "max_chunks": 1})
    sample_to_folder(asked, pipeline=pipe)
    assert len(events) > 8
    assert events == ["decoded", "written"] * (len(events) // 2)


def test_a_request_that_the_generator_refuses_leaves_no_record(
    pipe: GenerationPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> Any:
        raise ValueError("this generator makes at most 1.0 s at once: ask for less")

    monkeypatch.setattr(NoiseGenerator, "sample", refuse)
    with pytest.raises(ValueError, match="at most"):
        sample_to_folder(config(tmp_path, prompts=("x",)), pipeline=pipe)
    assert list((tmp_path / "out").iterdir()) == []


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
    assert "pip install 'matplotlib>=" in caplog.text
    asked = config(tmp_path, output=str(tmp_path / "asked"), prompts=("x",), spectrograms=True)
    with pytest.raises(MissingPackageError, match=r"spectrograms=true needs matplotlib: .*pip install 'matplotlib>="):
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


def test_a_line_separator_in_a_prompt_does_not_end_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"text": "calm\u2028piano"}\r\n{"text": "b\x85"}\n', encoding="utf-8")
    assert [line.text for line in read_prompts((), str(tmp_path / "p.jsonl"))] == ["calm\u2028piano", "b\x85"]


def test_prompts_come_from_text_and_jsonl_files(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "p.txt").write_text("one\n\n two \n")
    (tmp_path / "p.jsonl").write_text('{"text": "three", "label": "music", "seconds": 2}\n{"prompt": "four"}\n')
    lines = read_prompts(("zero",), tmp_path / "p.txt")
    assert [line.text for line in lines] == ["zero", "one", "two"]
    lines = read_prompts((), str(tmp_path / "p.jsonl"))
    assert [(line.text, line.label, line.seconds) for line in lines] == [("three", "music", 2), ("four", None, None)]
    (tmp_path / "typo.jsonl").write_text('{"text": "a", "second": 1}\n\n{"prompt": "b", "seconds": 2}\n')
    assert [line.seconds for line in read_prompts((), tmp_path / "typo.jsonl")] == [None, 2]
    assert "typo.jsonl: these keys have no effect: second\n" in caplog.text
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


def test_more_samples_than_a_record_lists_are_refused_at_once(pipe: GenerationPipeline, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"2,000,000,000 samples are too many .* at most 1,000,000"):
        sample_to_folder(config(tmp_path, num=10**9, prompts=("x", "y")), pipeline=pipe)
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written_is_found_before_sampling(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="choose another output"):
            sample_to_folder(config(tmp_path, output=str(output)), pipeline=pipe)
    assert pipe.generator.calls == []


def test_a_missing_audio_to_continue_is_named(pipe: GenerationPipeline, tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: no such file"):
        sample_to_folder(config(tmp_path, continue_from=str(tmp_path / "nowhere.wav")), pipeline=pipe)
