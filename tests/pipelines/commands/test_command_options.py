"""Options that are generated from config dataclasses, and their help."""

import dataclasses
import logging
import typing
from pathlib import Path
from typing import Any, Literal

import click
import pytest
from click.testing import CliRunner, Result
from command_line import COMMANDS, EXPERIMENTS, call, fails

from latentune.core.config import option
from latentune.core.fields import default_text, fields_of, nested_configs
from latentune.generators.load import KINDS, generator_class
from latentune.pipelines.commands.main import app
from latentune.pipelines.commands.options import ConfigCommand
from latentune.pipelines.commands.tools import Outcome


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
    text = " ".join(call(*words, "--help").stdout.split()).replace("- ", "-")  # narrow columns break names
    for field, hint in fields_of(found.config_class):
        if nested_configs(hint):
            continue
        name = str(field.metadata.get("name") or field.name)
        assert name.upper() in text or name in text or f"--{name.replace('_', '-')}" in text
        sentence = str(field.metadata["help"])
        assert sentence[0].isupper()
        assert sentence.endswith("."), sentence
        assert " ".join(sentence.split()).replace("- ", "-") in text
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


def test_an_option_takes_the_choices_of_every_generator_that_has_it() -> None:
    offered = {
        str(option.name): set(option.type.choices)
        for option in app.get_command(click.Context(app), "sample").get_params(click.Context(app))
        if isinstance(option, click.Option) and isinstance(option.type, click.Choice)
    }
    for kind in KINDS:
        for field, hint in fields_of(generator_class(kind).sampling_class):
            if typing.get_origin(hint) is typing.Literal:
                name = f"options__{field.metadata.get('name') or field.name}"
                assert set(typing.get_args(hint)) <= offered[name], f"{kind}: {name}"
    assert "unipc" in offered["options__solver"]


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
