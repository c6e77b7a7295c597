"""Bad input to channel experiments, and their commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from channel_runs import run, text_of
from click.testing import CliRunner
from rich.console import Console

from latentune.core.errors import AudioError, ConfigError
from latentune.pipelines.commands.main import app
from latentune.pipelines.measure.channel import RobustnessConfig
from latentune.pipelines.measure.channel.report import robustness_findings
from latentune.pipelines.measure.results import FigureFacts

RATE = 16_000


# ---------------------------------------------------------------------- bad input


def test_unreadable_files_are_listed_and_counted(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    expected = run(step_codec, clips)
    (clips / "0.wav").write_bytes(b"no audio")
    soundfile.write(clips / "nan.wav", np.full(9000, np.nan), RATE, subtype="FLOAT")
    result = run(step_codec, clips)
    assert [Path(failure["path"]).name for failure in result.table.failures] == ["0.wav", "nan.wav"]
    assert not any(failure["path"] in failure["reason"] for failure in result.table.failures)
    assert text_of(result) == text_of(expected)
    assert len(result.to_dict()["failures"]) == 2
    assert any("2 files could not be read" in line for line in result.table.warnings)


def test_audio_that_is_not_there_is_refused(step_codec: Any, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no audio in"):
        run(step_codec, tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no audio at"):
        run(step_codec, tmp_path / "nowhere")
    for path in clips.iterdir():
        path.write_bytes(b"no audio")
    with pytest.raises(AudioError, match="none of 2 audio files could be measured"):
        run(step_codec, clips)


def test_a_file_that_a_manifest_names_again_is_measured_once(
    step_codec: Any, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = clips / "list.jsonl"
    rows = [{"path": f"{name}.wav", "text": text} for name, text in (("a", "x"), ("b", "y"), ("a", "z"))]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert text_of(run(step_codec, manifest)) == text_of(run(step_codec, clips))
    assert "1 of 3 rows name a file again" in caplog.text


def test_square_brackets_in_a_name_are_no_markup(step_codec: Any, clips: Path) -> None:
    result = run(step_codec, clips)
    for facts in result.table.systems.values():
        facts["system"] = facts["system"].replace("natural", "natural[v2]")
    console = Console(width=200)
    with console.capture() as capture:
        console.print(robustness_findings(result.table, {"mel_distance": FigureFacts()}).view())
    assert "natural[v2]" in capture.get()


def test_silence_is_measured_and_told(step_codec: Any, clips: Path) -> None:
    soundfile.write(clips / "silent.wav", np.zeros(9000), RATE)
    assert [line for line in run(step_codec, clips).table.warnings if "silent.wav: digital silence" in line]


def test_an_option_that_decoding_lacks_is_refused_before_anything_is_measured(tiny_neucodec: Any, clips: Path) -> None:
    for options in ({"stepz": 1}, {"chunk_s": "abc"}, {"tokens": 3}):
        with pytest.raises(ConfigError, match=next(iter(options))):
            run(tiny_neucodec, clips, options=options)


def test_a_tokenizer_without_tokens_is_refused(tokenless_codec: Any, clips: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        run(tokenless_codec, clips)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": (1.5,)}, r"in \[0, 1\]"),
        ({"p": (-0.1,)}, r"in \[0, 1\]"),
        ({"p": ()}, "one or more different"),
        ({"p": (0.1, 0.1)}, "one or more different"),
        ({"channel": "fading"}, "known are bsc"),
        ({"labellings": ("grey",)}, "known are natural"),
        ({"labellings": ("gray", "gray")}, "different labellings"),
        ({"metrics": ("mos",)}, "known are stft_distance"),
        ({"concealments": ("repeat", "repeat")}, "twice"),
        ({"seeds": 0}, "seeds must be above 0"),
        ({"max_duration_s": 0.0}, "max_duration_s must be above 0"),
        ({"soft": True, "labellings": ("index",)}, "digit by digit"),
        ({"prior_audio": "x"}, "set soft"),
        ({"channel": "packet", "concealments": ()}, "need a concealment"),
        ({"channel": "gilbert-elliott", "p": (0.5,)}, r"below 0\.5"),
        ({"channel": "awgn", "p": (0.5,)}, r"below 0\.5"),
        ({"codec2": (700,)}, "known are 3200"),
        ({"codec2": (3200,), "channel": "packet"}, "sent as bits"),
        ({"channel": "levels", "soft": True}, "leave out soft"),
        ({"channel": "levels", "labellings": ("gray",)}, "leave out soft, rvq_audio and labellings"),
        ({"channel": "levels", "level_distances": (0, 1)}, "from 1 up"),
        ({"channel": "levels", "level_distances": ()}, "from 1 up"),
        ({"channel": "gilbert-elliott", "p": (0.4,), "burst_bits": 2.0}, "shorter than chance"),
        ({"rvq_codebooks": 2}, "give it"),
        ({"channel": "packet", "labellings": ("gray",)}, "lost whole"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RobustnessConfig(audio="a", output="b", **settings)


# ---------------------------------------------------------------------- the commands


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory, tiny_codec: Any) -> Path:
    folder = tmp_path_factory.mktemp("codec")
    tiny_codec.save_pretrained(folder)
    return folder


def test_the_command(codec_folder: Path, clips: Path, tmp_path: Path) -> None:
    arguments = ["experiment", "robustness", clips / "b.wav", "--tokenizer", codec_folder, "--p", "0.01", "--p", "0.1"]
    arguments += ["--seeds", 1, "--labelling", "natural", "--labelling", "gray", "metrics=[]", "options.steps=1"]
    result = CliRunner().invoke(app, [*map(str, arguments), str(tmp_path / "o")])
    assert result.exit_code == 0, result.output
    assert "mel distance" in result.stdout
    assert "1 seeds say little" in result.stdout
    assert {path.name for path in (tmp_path / "o").iterdir()} == {
        "config.yaml",
        "estimates.csv",
        "robustness.csv",
        "robustness.html",
        "robustness.json",
        "robustness.png",
    }
    again = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    written = json.loads((tmp_path / "o" / "robustness.json").read_text())
    assert len(written["systems"]) == 5
    assert json.loads(again.stdout)["systems"] == written["systems"]


def test_the_command_fails_in_one_line(codec_folder: Path, clips: Path, tmp_path: Path) -> None:
    common = ["experiment", "robustness", "--tokenizer", str(codec_folder)]
    output = str(tmp_path / "o")
    for arguments, message in (
        ([str(clips), output, "--p", "2"], "in [0, 1]"),
        ([str(tmp_path / "nowhere"), output], "no audio at"),
        ([str(clips), output, "sedes=3"], "seeds"),
    ):
        result = CliRunner().invoke(app, [*common, *arguments])
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert message in result.stderr


def test_the_probe_command(codec_folder: Path, clips: Path, tmp_path: Path) -> None:
    other = shutil.copytree(codec_folder, tmp_path / "other")
    arguments = ["experiment", "probe", str(codec_folder), str(other), str(clips / "b.wav"), str(tmp_path / "o")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "tokens equal 100.00%" in result.stdout
    assert "of levels used as here" in result.stdout
    assert {path.name for path in (tmp_path / "o").iterdir()} == {"locality.json", "locality.png"}
