"""The command line: what it parses, what it prints, and how it fails."""

import dataclasses
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner, Result

from latentune import __version__
from latentune.core.config import option
from latentune.core.settings import shipped_configs
from latentune.pipelines.commands import tools
from latentune.pipelines.commands.main import app
from latentune.pipelines.commands.options import ConfigCommand, default_text, fields_of, nested_configs
from latentune.pipelines.commands.tools import Outcome, progress_bar
from latentune.pipelines.generation.cards import PIPELINE_CARDS
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.measure.embedders.cards import EMBEDDERS
from latentune.tokenizers.cards import OFFICIAL_CARDS, SHIPPED_CARDS
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.load import load_tokenizer

COMMANDS = ("encode", "decode", "train", "sample", "evaluate", "experiment", "convert", "info", "list", "demo")
EXPERIMENTS = ("reconstruction", "steps", "gap", "boundaries", "robustness", "probe")
RATE = 48000


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result


def fails(*arguments: object, debug: bool = False) -> str:
    """The one line that a failing command prints; nothing goes to stdout."""
    result = call(*arguments, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(0)
    for number in range(2):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, (RATE // 4, 2)), RATE)
    (folder / "broken.wav").write_bytes(b"not audio")
    return folder


@pytest.fixture(scope="module")
def dataset(codec_folder: Path, audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "latents"
    result = call("encode", audio, folder, "--tokenizer", codec_folder, "shard_mb=1", "dtype=float32")
    assert "2 items" in result.stdout
    assert "1 left out" in result.stdout
    return folder


# ---------------------------------------------------------------------- the commands


def test_help_names_every_command_and_version_the_version() -> None:
    text = call("--help").stdout
    assert all(command in text for command in COMMANDS)
    assert call("--version").stdout == f"latentune {__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    assert "Usage" in call(command, "--help").stdout


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from latentune.pipelines.commands.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'diffusers', 'accelerate', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


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
    assert soundfile.info(tmp_path / "wavs" / record["file"]).frames == RATE // 4


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


# ---------------------------------------------------------------------- failures


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "no dataset at nowhere"),
        (["encode", "nowhere", "out", "--tokenizer", "nowhere"], "nowhere"),
        (["evaluate", "real", "-c", "evaluate/musicnn"], "lacks the required key(s) generated"),
        (["encode", "a", "b", "tokeniser=c"], "unknown config key tokeniser: did you mean 'tokenizer'?"),
        (["encode", "a", "b", "wrong"], "'wrong' is not key=value"),
        (["train", "train/codicodec-tiny", "data.source=x", "stepz=1"], "did you mean 'steps'"),
        (["train", "train/codicodec-tiny"], "give it a value, data.source=..."),
        (["train", "train/codicodec-tiny", "data.source=nowhere", "output=run"], "nowhere"),
        (["train", "nothing"], "no config 'nothing'"),
        (["sample", "nowhere", "out"], "nowhere"),
        (["convert", "nowhere.pt", "out"], "nowhere.pt"),
        (["decode", "nowhere", "out"], "no dataset at nowhere"),
        (["demo", "out", "nums=3"], "did you mean 'num'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(*arguments)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["frobnicate"],
        ["info", "a", "--frob"],
        ["encode", "a"],
        ["sample", "a", "b", "--num", "x"],
        ["evaluate"],
    ],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    result = call(*arguments, code=2)
    assert result.stdout == ""
    assert "Usage" in result.stderr


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


def test_a_stopped_run_is_exit_code_130(audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import latentune.pipelines.training.step as library

    step = library.Stepper.do

    def interrupted(self: Any, *arguments: Any) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(library.Stepper, "do", interrupted)
    keys = [f"data.source={audio / '0.wav'}", f"output={tmp_path / 'run'}"]
    lines = call("train", "train/codicodec-tiny", *keys, code=130).stderr.splitlines()
    assert lines[-1].startswith("interrupted: stopped by SIGTERM after step 1")
    assert "run the same command again to resume" in lines[-1]
    assert "training CoDiCodec" in lines[0]
    assert "step 1: loss" in lines[1], "the lines of a job are shown also without a terminal and without -v"
    assert (tmp_path / "run" / "checkpoints" / "00000001").is_dir()


@pytest.mark.parametrize(
    ("command", "function", "hint"),
    [
        (["encode", "a", "b"], "latentune.pipelines.encode.encode_dataset", "run the same command again to resume"),
        (["sample", "a", "b"], "latentune.pipelines.sample.sample_to_folder", "it starts from the beginning"),
    ],
)
def test_an_interruption_says_how_to_resume(
    command: list[str], function: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupted)
    result = call(*command, code=130)
    assert result.stdout == ""
    assert result.stderr.startswith("interrupted: ")
    assert hint in result.stderr


# ---------------------------------------------------------------------- generated options


@pytest.mark.parametrize("command", [*COMMANDS, *(f"experiment {name}" for name in EXPERIMENTS)])
def test_every_key_is_documented_with_its_default(command: str) -> None:
    """A default of None or of nothing is described in words."""
    words = command.split()
    found: Any = app
    for word in words:
        found = found.get_command(click.Context(found), word)
    if not isinstance(found, ConfigCommand):
        assert isinstance(found, click.Group)
        return
    text = " ".join(call(*words, "--help").stdout.split())
    for field, hint in fields_of(found.config_class):
        if nested_configs(hint):
            continue
        name = str(field.metadata.get("name") or field.name)
        assert name.upper() in text or name in text or f"--{name.replace('_', '-')}" in text
        sentence = str(field.metadata["help"])
        assert sentence[0].isupper()
        assert sentence.endswith("."), sentence
        assert " ".join(sentence.split()) in text
        default = default_text(field)
        assert not default or f"[default: {default}]" in text or "By default" in sentence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Everything:
    """One field of each kind that an option can be made of."""

    source: str = option(help="Source.", positional=True)
    more: tuple[str, ...] = option((), "More sources.", positional=True)
    count: int = option(1, "Count.", short="n")
    rate: float | None = option(None, "Rate.")
    kind: Literal["a", "b"] = option("a", "Kind.")
    fast: bool = option(True, "Fast.")
    names: tuple[str, ...] = option(("x",), "Names.", name="name")
    parts: tuple[str, ...] = option((), "Parts.", commas=True)
    sizes: tuple[int, ...] = option((), "Sizes.")
    pair: tuple[float, float] = option((0.0, 1.0), "Pair.")
    where: dict[str, Any] = option(factory=dict, help="Where.")
    secret: int = option(0, "Secret.", hidden=True)


def parse(*arguments: str, code: int = 0) -> tuple[Everything | None, Result]:
    seen: list[Everything] = []

    def run(config: Everything) -> Outcome:
        seen.append(config)
        return Outcome(facts={})

    result = CliRunner().invoke(ConfigCommand(run, Everything), list(arguments))
    assert result.exit_code == code, result.output
    return (seen[0] if seen else None), result


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["s"], {}),
        (["s", "t", "u"], {"more": ("t", "u")}),
        (["s", "-n", "3", "--rate", "-2.5"], {"count": 3, "rate": -2.5}),
        (["--kind", "b", "s", "--no-fast"], {"kind": "b", "fast": False}),
        (["s", "--name", "a,b", "--name", "c"], {"names": ("a,b", "c")}),
        (["s", "--parts", "a,b", "--parts", "c"], {"parts": ("a", "b", "c")}),
        (["s", "--sizes", "1", "--sizes", "2", "--pair", "0", "2"], {"sizes": (1, 2), "pair": (0.0, 2.0)}),
        (["s", "--where", "split=test", "--where", "n=2"], {"where": {"split": "test", "n": 2}}),
        (["s", "secret=5", "where.a=[1, x]"], {"secret": 5, "where": {"a": [1, "x"]}}),
        (["s", "--count", "3", "count=4"], {"count": 4}),  # key=value wins
        (["s", "--name", "${oc.env:HOME}", "--name", "???"], {"names": ("${oc.env:HOME}", "???")}),
        (["./a=b", "--name", "k=v"], {"source": "./a=b", "names": ("k=v",)}),
    ],
)
def test_options_become_fields(arguments: list[str], expected: dict[str, Any]) -> None:
    assert parse(*arguments)[0] == Everything(**{"source": "s", **expected})


def test_options_win_over_a_file_and_keys_over_options(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("source: f\ncount: 5\nkind: b\nwhere: {a: 1}\n")
    file = str(tmp_path / "c.yaml")
    assert parse("-c", file)[0] == Everything(source="f", count=5, kind="b", where={"a": 1})
    assert parse("-c", file, "s", "-n", "6", "--where", "b=2", "kind=a")[0] == Everything(
        source="s", count=6, where={"a": 1, "b": 2}
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'SOURCE'"),
        (["s", "--kind", "c"], "'c' is not one of 'a', 'b'"),
        (["s", "--count", "x"], "'x' is not a valid integer"),
        (["s", "--secret", "1"], "No such option"),
    ],
)
def test_a_wrong_option_is_wrong_usage(arguments: list[str], message: str) -> None:
    found, result = parse(*arguments, code=2)
    assert found is None
    assert message in result.stderr


def test_the_help_shows_types_choices_and_defaults() -> None:
    text = " ".join(parse("--help")[1].stdout.split())
    for part in (
        "SOURCE [MORE]... [KEY=VALUE]... [OPTIONS]",
        "-n, --count INTEGER Count. [default: 1]",
        "--rate FLOAT Rate. [default: none]",
        "--kind [a|b] Kind. [default: a]",
        "--fast / --no-fast Fast. [default: true]",
        "--where KEY=VALUE",
        "secret Secret. [default: 0]",
        "--config FILE",
    ):
        assert part in text


def test_the_help_of_a_training_config_shows_its_keys_and_values(tmp_path: Path) -> None:
    text = " ".join(call("train", "train/dit-tiny", "steps=7", "--help").stdout.split())
    for part in (
        "model.class = DiffusionTransformer",
        "model.config.width = 64",
        "data.source = required",
        "data.crop_s = 2.0",
        "steps = 7 Number of optimizer steps.",
        "optimizer.eps = 1e-08",
    ):
        assert part in text
    assert "model.config.binding" not in text
    assert "model.config.trained_on" not in text
    codec = " ".join(call("train", "train/taae-tiny", "-h").stdout.split())
    assert "data.weight_column" in codec
    assert "model.config.depths = [1, 2] transformer blocks of each stage" in codec, "a comment is the help as well"
    assert "no config 'train/nothing'" in fails("train", "train/nothing", "--help")


@pytest.mark.parametrize("where", ["before", "after"])
def test_verbose_and_debug_work_before_and_after_the_command(where: str) -> None:
    for flag, shown in (("--debug", "Traceback"), ("-v", "error: ")):
        arguments = [flag, "info", "nowhere"] if where == "before" else ["info", "nowhere", flag]
        assert shown in call(*arguments, code=1).stderr
        assert logging.getLogger("latentune").level == logging.INFO
    call("info", "nowhere", code=1)
    assert logging.getLogger("latentune").level == logging.WARNING


def test_list_shows_everything_that_has_a_name() -> None:
    facts = json.loads(call("list", "--json").stdout)
    assert set(facts) == {"tokenizers", "pipelines", "configs", "embedders"}
    names = {kind: {row["name"] for row in rows} for kind, rows in facts.items()}
    assert names["tokenizers"] == {*SHIPPED_CARDS, *OFFICIAL_CARDS}
    assert names["pipelines"] == set(PIPELINE_CARDS)
    assert names["configs"] == set(shipped_configs())
    assert names["embedders"] == set(EMBEDDERS)
    assert all(row["contents"] for row in facts["configs"]), "each config begins with a comment"
    for kind in ("tokenizers", "pipelines", "embedders"):
        assert all(row["licence"] and row["size"] and row["available"] for row in facts[kind])
    assert set(json.loads(call("list", "pipelines", "--json").stdout)) == {"pipelines"}
    assert "allowed: 'all', 'tokenizers'" in fails("list", "codecs")


def test_list_says_which_official_weights_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--neuphonic--neucodec" / "snapshots" / "0123").mkdir(parents=True)
    rows = json.loads(call("list", "tokenizers", "--json").stdout)["tokenizers"]
    available = {row["name"]: row["available"] for row in rows}
    assert available["neucodec"] == "downloaded"
    assert available["codicodec"] == "on the hub (SonyCSLParis/codicodec)"
    assert available["codicodec-mini"] == "ships"


@pytest.mark.parametrize("name", PIPELINE_CARDS)
def test_the_card_of_a_pipeline_is_true(name: str) -> None:
    card, pipeline = PIPELINE_CARDS[name], load_pipeline(name)
    assert type(pipeline.generator).__name__ == card.class_name
    assert sum(p.numel() for p in pipeline.generator.parameters()) / 1e6 == pytest.approx(card.parameters_m, abs=0.05)
    assert pipeline.fingerprint == load_tokenizer(card.tokenizer).fingerprint()


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
