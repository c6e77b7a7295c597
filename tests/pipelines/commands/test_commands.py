"""The commands: help, and the steps from encoding to sampling; how they hand over their arguments."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from command_line import COMMANDS, call

from latentune import __version__
from latentune.pipelines.commands import tools
from latentune.pipelines.commands.tools import progress_bar


def test_help_names_every_command_and_version_the_version() -> None:
    text = call("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert call("--version").stdout == f"latentune {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert "Usage" in call(command, "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "light"),
    [(["--help"], ["torch", "numpy"]), (["info", "--help"], ["torch", "numpy"]), (["list"], []), (["info"], [])],
    ids=" ".join,
)
def test_what_shows_facts_loads_nothing_heavy(arguments: list[str], light: list[str], dataset: Path) -> None:
    given = [*arguments, str(dataset)] if arguments == ["info"] else arguments
    script = (
        "import sys\n"
        "from latentune.pipelines.commands.main import app\n"
        f"try: app({given!r})\n"
        "except SystemExit as done: assert not done.code\n"
        f"heavy = {{'diffusers', 'transformers', 'accelerate', 'matplotlib', 'scipy', *{light!r}}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_encode_info_and_decode_work_together(dataset: Path, codec_folder: Path, tmp_path: Path) -> None:
    facts = json.loads(call("info", dataset, "--verify", "--json").stdout)
    assert (facts["num_items"], facts["problems"]) == (2, [])
    assert "items" in call("info", dataset).stdout
    analysis = json.loads(call("info", dataset, "--codebook", "--json").stdout)["token_analysis"]
    book = analysis["codebooks"][0]  # an untrained codec has zeros before its bottleneck: one token, over and over
    assert (book["num_tokens"], book["num_used"], book["entropy_bits"]) == (96, 1, 0)
    assert "Huffman, bits" in call("info", dataset, "--codebook").stdout
    result = call(
        "decode", dataset, tmp_path / "wavs", "--tokenizer", codec_folder, "--num", 1, "-o", "steps=1", "--json"
    )
    record = json.loads(result.stdout)["items"][0]
    assert record["seconds"] == 0.25
    assert soundfile.info(tmp_path / "wavs" / record["file"]).frames == 12_000  # at 48 kHz


def test_square_brackets_in_a_file_name_are_no_markup_of_the_progress_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
    monkeypatch.setenv("COLUMNS", "200")
    with progress_bar("measuring") as update:
        update(1, 2, "take[/v2].wav")
    assert "take[/v2].wav" in capsys.readouterr().err


def test_info_fails_on_a_damaged_dataset(dataset: Path, tmp_path: Path) -> None:
    shutil.copytree(dataset, tmp_path / "copy")
    shard = next((tmp_path / "copy" / "shards").glob("*.safetensors"))
    content = bytearray(shard.read_bytes())
    header_bytes = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + header_bytes])
    content[8 + header_bytes + header["latents"]["data_offsets"][0]] ^= 1
    shard.write_bytes(bytes(content))
    result = call("info", tmp_path / "copy", "--verify", "--json", code=1)
    assert json.loads(result.stdout)["problems"]


def test_train_and_sample_work_together(dataset: Path, codec_folder: Path, tmp_path: Path) -> None:
    keys = [f"data.source={dataset}", f"data.tokenizer={codec_folder}", f"output={tmp_path / 'run'}", "batch_size=2"]
    keys.append("data.crop_s=0.17")
    summary = json.loads(call("train", "train/dit-tiny", *keys, "steps=2", "--json").stdout)
    assert summary["checkpoint"].endswith("00000002")
    assert np.isfinite(summary["loss"])
    again = json.loads(call("train", "train/dit-tiny", *keys, "steps=2", "--json").stdout)
    assert again["loss"] is None  # nothing was left to do
    finished = call("train", "train/dit-tiny", *keys, "steps=2")
    assert "2 steps, already complete" in finished.stdout
    assert "nan" not in finished.output
    assert "3 steps" in call("train", "train/dit-tiny", *keys, "steps=3").stdout
    arguments = ["sample", tmp_path / "run", tmp_path / "out", "--num", 2, "--seconds", 0.1, "--steps", 1]
    records = json.loads(call(*arguments, "spectrograms=false", "decode_options.steps=1", "--json").stdout)["samples"]
    assert len(records) == 2
    assert len(list((tmp_path / "out").glob("*.wav"))) == 2
    refused = call(*arguments, "-p", "a piano", code=1)
    assert "never saw a value of text in training" in refused.output


def test_a_config_file_and_overrides_reach_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.sample as library

    seen: list[Any] = []
    monkeypatch.setattr(library, "sample_to_folder", lambda config, progress: seen.append(config) or [])
    (tmp_path / "s.yaml").write_text("seconds: 3\nnum: 2\noptions: {a: 1, b: 2}\n")
    call("sample", "pipe", "out", "-c", tmp_path / "s.yaml", "--num", "4", "options.b=5", "--top-k", 7, "--guidance", 2)
    config = seen[0]
    assert (config.pipeline, config.seconds, config.num) == ("pipe", 3.0, 4)
    assert config.options == {"a": 1, "b": 5, "top_k": 7, "guidance": 2.0}


def test_evaluate_hands_over_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.evaluate as library
    from latentune.pipelines.measure.results import FigureFacts, SetFigure

    seen: list[Any] = []
    made = {"source": "made", "num_files": 3, "num_windows": 5, "failures": []}
    outcome = library.ResultsTable(facts={"value": 1.5, "reference": made}, warnings=["too few"])
    outcome.figures["fad_x"] = FigureFacts(better="lower")
    outcome.systems["made"] = {"summary": made}
    outcome.add_set("made", "fad_x", SetFigure(value=1.5))
    monkeypatch.setattr(library, "evaluate", lambda config, progress: seen.append(config) or outcome)
    assert json.loads(call("evaluate", "real", "made", "-o", "r.json", "--json").stdout)["value"] == 1.5
    assert (seen[0].reference, seen[0].generated, seen[0].output) == ("real", "made", "r.json")
    lines = call("evaluate", "real", "made", "max_files=3").stdout.splitlines()
    assert lines[0] == "fad_x 1.5"
    assert lines[2] == "generated 3 files, 5 windows, 0 left out"
    assert lines[3] == "warning: too few"


def test_demo_hands_over_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.demos.walkthrough as library

    seen: dict[str, Any] = {}

    def run(config: Any, *, progress: Any) -> Any:
        seen.update(output=config.output, num=config.num)
        progress("encoding")
        return library.DemoResult(report="r.html")

    monkeypatch.setattr(library, "run_demo", run)
    assert call("demo", "out", "num=2").stdout.startswith("r.html: written in")
    assert seen == {"output": "out", "num": 2}


@pytest.mark.parametrize(("old", "new"), [("robustness", "experiment robustness"), ("probe", "experiment probe")])
def test_an_old_name_is_answered_with_the_new_one(old: str, new: str) -> None:
    assert f"is now '{new}'" in call(old, "x", code=2).stderr


def test_progress_is_written_in_lines_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    now = iter([0.0, 1.0, 40.0, 40.0])
    monkeypatch.setattr(tools.time, "monotonic", lambda: next(now))
    with progress_bar("training") as update:
        update(1, 50)
        update(20, 50, "loss 0.5")
    assert capsys.readouterr().err == "training: 20 of 50, loss 0.5\n"


def test_control_characters_of_names_do_not_reach_the_terminal(
    codec_folder: Path, audio: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    evil = "evil\x1b[31m\x07\u202ename"
    rows = [{"path": str(audio / "0.wav"), evil: "text"}, {"path": str(audio / f"{evil}.wav"), evil: "text"}]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = call("encode", tmp_path / "manifest.jsonl", tmp_path / evil, "--tokenizer", codec_folder)
    shown = call("info", tmp_path / evil)
    for output in (result.output, shown.output):
        assert not set("\x1b\x07\u202e") & set(output)
    assert "evil\\x1b[31m" in shown.output  # rich itself drops the bell


def test_evaluating_a_tokenizer_warns_of_odd_audio_as_encode_does(codec_folder: Path, tmp_path: Path) -> None:
    """Samples that are scaled as integers, in more channels than two."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (12_000, 4))
    soundfile.write(tmp_path / "0.wav", noise, 48_000, subtype="FLOAT")
    soundfile.write(tmp_path / "1.wav", noise[:, :2] * 32768, 48_000, subtype="FLOAT")
    evaluated = call("evaluate", "--tokenizer", codec_folder, "--audio", tmp_path)
    encoded = call("encode", tmp_path, tmp_path / "out", "--tokenizer", codec_folder)
    for text in ("1 recordings have a peak above 10 (full scale is 1), such as 1.wav", "have more than 2 channels"):
        assert text in evaluated.stderr
        assert text in encoded.stderr
