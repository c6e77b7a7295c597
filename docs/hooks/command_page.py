"""The page of the command line: the help text of every command, as the terminal shows it."""

from __future__ import annotations

import typer.main
from typer.testing import CliRunner

HEAD = """# Commands

This is what `latentune COMMAND --help` prints. The exit code is 0 for done, 1 for failed, 2 for wrong usage and 130 for
interrupted.

"""
TERMINAL = {"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}


def command_page() -> str:
    """Returns the Markdown of all commands."""
    from latentune.pipelines.commands.main import app

    sections = [f"```text\n{_help()}\n```"]
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        if not command.hidden:
            sections.append(f"## {name}\n\n```text\n{_help(name)}\n```")
    return HEAD + "\n\n".join(sections) + "\n"


def _help(*command: str) -> str:
    from latentune.pipelines.commands.main import app

    result = CliRunner().invoke(app, [*command, "--help"], env=TERMINAL, prog_name="latentune")
    if result.exit_code:
        raise RuntimeError(f"latentune {' '.join(command)} --help failed: {result.output}")
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())
