"""Calls of the command line."""

from click.testing import CliRunner, Result

from latentune.pipelines.commands.main import app

COMMANDS = (
    "encode",
    "decode",
    "train",
    "sample",
    "edit",
    "evaluate",
    "experiment",
    "convert",
    "export",
    "info",
    "list",
    "demo",
    "web",
    "serve",
)
EXPERIMENTS = (
    "reconstruction",
    "steps",
    "gap",
    "boundaries",
    "labels",
    "rates",
    "histograms",
    "memory",
    "robustness",
    "probe",
)


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
