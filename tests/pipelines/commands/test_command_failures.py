"""How commands fail: one line on stderr, and the exit code."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import call, fails

AUSTEN = str(Path(__file__).resolve().parents[3] / "demos/fixtures/austen_0880.wav")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "no dataset at nowhere"),
        (["encode", "nowhere", "out", "--tokenizer", "nowhere"], "nowhere"),
        (["evaluate", "real", "-c", "evaluate/musicnn"], "lacks the required key(s) generated"),
        (["encode", "a", "b", "tokeniser=c"], "unknown config key tokeniser: did you mean 'tokenizer'?"),
        (["train", "train/codicodec-tiny", "data.source=x", "stepz=1"], "did you mean 'steps'"),
        (["train", "train/codicodec-tiny"], "give it a value, data.source=..."),
        (["train", "train/codicodec-tiny", "data.sorce=x"], "is data.sorce a misspelling of it?"),
        (["train", "train/codicodec-tiny", "data.source=nowhere", "output=run"], "nowhere"),
        (["train", "nothing"], "no config 'nothing'"),
        (["sample", "nowhere", "out"], "nowhere"),
        (["convert", "nowhere.pt", "out"], "nowhere.pt"),
        (["decode", "nowhere", "out"], "no dataset at nowhere"),
        (["demo", "out", "nums=3"], "did you mean 'num'"),
        (["experiment", "reconstruction", "nowhere", "out"], "no audio at"),
        (["train", "train/dit-tiny", "run", "data.source=nowhere"], "no dataset at nowhere"),
        (["sample", "melcodec-music-dit", "out", "--seconds", "1e9"], "at most 86400"),
        (["edit", AUSTEN, "out.wav", "--pipeline", "melcodec-music-dit", "--extend", "1e9"], "at most 86400"),
        (["train", AUSTEN], "is not a config: give a .yaml file"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(*arguments)
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "Missing argument 'CONFIG'"),
        (["frobnicate"], "There is no command 'frobnicate'"),
        (["info", "a", "--frob"], "No such option"),
        (["encode", "a"], "Missing argument 'OUTPUT'"),
        (["encode", "a", "b", "wrong"], "unexpected argument 'wrong', which is not key=value"),
        (["sample", "a", "b", "--num", "x"], "'x' is not a valid integer"),
        (["sample", "a", "b", "--condition", "bpm"], "'--condition': 'bpm' is not KEY=VALUE"),
        (["edit", "a.wav", "b.wav", "--loop"], "Missing option '--pipeline'"),
        (["evaluate"], "Missing argument"),
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], message: str) -> None:
    result = call(*arguments, code=2)
    assert result.stdout == ""
    assert "Usage" in result.stderr
    assert message in result.stderr


def test_the_nearest_command_is_named() -> None:
    assert "did you mean 'encode'?" in call("encod", code=2).stderr


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_an_output_that_cannot_be_written_is_named_with_the_reason(
    command: str, audio: Path, dataset: Path, codec_folder: Path
) -> None:
    source = audio if command == "encode" else dataset
    message = fails(command, source, "/proc/out", "--tokenizer", codec_folder)
    assert message.startswith("error: cannot write to the folder /proc/out (")


def test_an_option_that_the_codec_lacks_is_a_mistake(dataset: Path, codec_folder: Path, tmp_path: Path) -> None:
    assert "no option stepz" in fails("decode", dataset, tmp_path / "o", "--tokenizer", codec_folder, "-o", "stepz=1")


def test_a_traceback_is_shown_only_when_asked_for() -> None:
    assert "Traceback" in call("--debug", "info", "nowhere", code=1).stderr
    assert "Traceback" not in call("info", "nowhere", code=1).stderr


def test_an_unexpected_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.info as library

    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(library, "dataset_info", broken)
    assert fails("info", "x") == "error: unexpected RuntimeError: two lines (latentune --debug ... shows where)\n"


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("x: can't allocate memory: y")]
)
def test_a_lack_of_memory_says_what_to_do(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.info as library

    def broken(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(library, "dataset_info", broken)
    assert fails("info", "x").startswith("error: not enough memory (")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_exit_code_of_a_stopped_run_is_that_of_its_signal(
    number: signal.Signals, audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentune.pipelines.training.step as library

    step = library.Stepper.do

    def interrupted(self: Any, *arguments: Any) -> bool:
        os.kill(os.getpid(), number)
        return step(self, *arguments)

    monkeypatch.setattr(library.Stepper, "do", interrupted)
    keys = [f"data.source={audio / '0.wav'}", f"output={tmp_path / 'run'}"]
    lines = call("train", "train/codicodec-tiny", *keys, code=128 + number).stderr.splitlines()
    assert lines[-1].startswith(f"interrupted: stopped by {number.name} after step 1")
    assert "run the same command again to resume" in lines[-1]
    assert "training CoDiCodec" in lines[0]
    assert "step 1: loss" in lines[1], "the lines of a job are shown also without a terminal and without -v"
    assert (tmp_path / "run" / "checkpoints" / "00000001").is_dir()


@pytest.mark.parametrize(
    ("command", "function", "hint"),
    [
        (["encode", "a", "b"], "latentune.pipelines.encode.encode_dataset", "run the same command again to resume"),
        (["sample", "a", "b"], "latentune.pipelines.sample.sample_to_folder", "it starts from the beginning"),
        (
            ["evaluate", "a", "b"],
            "latentune.pipelines.evaluate.evaluate",
            "with --cache, what is embedded by then is kept",
        ),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_how_to_resume(
    command: list[str], function: str, hint: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        os.kill(os.getpid(), number)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(function, interrupted)
    result = call(*command, code=128 + number)
    assert signal.getsignal(signal.SIGTERM) == before
    assert result.stdout == ""
    assert result.stderr.startswith("interrupted: ")
    assert hint in result.stderr
    assert "unexpected" not in result.stderr


def test_control_characters_of_a_name_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = fails("info", "evil\x1b]0;owned\x07\u202ename")
    assert "evil\\x1b]0;owned\\x07\\u202ename" in line
    assert "\x1b" not in line
