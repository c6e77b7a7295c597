"""`latentune edit` as a function and as a command: one file in, one file and its record out."""

import json
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of, seeded
from plain_codec import PlainCodec

from latentune.core.errors import ConfigError
from latentune.pipelines.edit import EditConfig, edit_audio
from latentune.pipelines.generation.pipeline import GenerationPipeline


@pytest.fixture
def pipe() -> GenerationPipeline:
    codec = PlainCodec().eval()
    return GenerationPipeline(codec, NoiseGenerator(NoiseConfig(binding=binding_of(codec))).eval())


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    soundfile.write(path, (torch.randn(4000, 2, generator=seeded(3)) * 0.1).numpy(), 4000, subtype="FLOAT")
    return path


def config(recording: Path, **options: Any) -> EditConfig:
    options.setdefault("output", str(recording.with_name("out.wav")))
    return EditConfig(audio=str(recording), pipeline="unused", subtype="FLOAT", **options)


@pytest.mark.parametrize(
    ("edit", "samples"),
    [
        ({"replace": ("0.2:0.3", "0.6:0.62")}, 4000),
        ({"extend": 0.5}, 6000),
        ({"vary": 0.5}, 4000),
        ({"loop": True, "join_s": 0.1}, 4000),
    ],
)
def test_each_edit_writes_the_audio_and_its_record(
    pipe: GenerationPipeline, recording: Path, edit: dict[str, Any], samples: int
) -> None:
    record = edit_audio(config(recording, seed=3, prompt="a", options={"guidance": 1.5}, **edit), pipeline=pipe)
    audio, rate = soundfile.read(recording.with_name("out.wav"))
    assert audio.shape == (samples, 2)
    assert rate == 4000
    assert json.loads(recording.with_name("out.json").read_text()) == json.loads(json.dumps(record))
    assert record["seconds"] == samples / 4000
    assert record["seed"] == 3


def test_kept_samples_come_back_bit_for_bit_and_a_seed_repeats_the_edit(
    pipe: GenerationPipeline, recording: Path
) -> None:
    results = []
    for name in ("one.wav", "two.wav"):
        output = str(recording.with_name(name))
        edit_audio(config(recording, output=output, replace=("0.5:0.6",)), pipeline=pipe)
        results.append(soundfile.read(output)[0])
    before = soundfile.read(recording)[0]
    assert (results[0] == results[1]).all()
    assert (results[0][:1800] == before[:1800]).all()
    assert (results[0][2600:] == before[2600:]).all()
    assert (results[0][2000:2400] != before[2000:2400]).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "choose one of replace, extend, vary and loop, got none"),
        ({"extend": 1.0, "loop": True}, "got extend, loop"),
        ({"replace": ("1-2",)}, "is not start:end in seconds"),
        ({"replace": ("1:x",)}, "is not start:end in seconds"),
        ({"extend": 1.0, "output": "out.mp3"}, "must be a .wav or .flac file"),
        ({"extend": 1.0, "seed": -1}, "seed must be at least 0"),
    ],
)
def test_wrong_configs_are_refused(recording: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(recording, **wrong)


def test_what_cannot_be_edited_leaves_no_file(pipe: GenerationPipeline, recording: Path) -> None:
    for options, message in (
        ({"replace": ("0.5:2.0",)}, "must lie within the audio"),
        ({"extend": -1.0}, "positive number of seconds"),
        ({"vary": 2.0}, "strength must lie in"),
    ):
        with pytest.raises(ValueError, match=message):
            edit_audio(config(recording, **options), pipeline=pipe)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="is not an option"):
        edit_audio(config(recording, extend=1.0, options={"nothing": 1}), pipeline=pipe)
    with pytest.raises(ValueError, match="is the recording itself"):
        config(recording, extend=1.0, output=str(recording))
    with pytest.raises(OSError, match="no such folder"):
        edit_audio(config(recording, extend=1.0, output=str(recording.parent / "no" / "out.wav")), pipeline=pipe)
    assert sorted(path.name for path in recording.parent.iterdir()) == ["in.wav"]


@pytest.mark.parametrize("there", ["out.wav", "out.json"])
def test_a_file_that_no_edit_has_written_stays(pipe: GenerationPipeline, recording: Path, there: str) -> None:
    recording.with_name(there).write_text('{"mine": 1}')
    with pytest.raises(ValueError, match=f"{there} is there and was not written by an edit"):
        edit_audio(config(recording, vary=0.5), pipeline=pipe)
    assert recording.with_name(there).read_text() == '{"mine": 1}'
    recording.with_name(there).unlink()
    for _ in range(2):  # its own result is replaced
        edit_audio(config(recording, vary=0.5), pipeline=pipe)
