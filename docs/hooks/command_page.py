"""The page of the command line: the help text of every command, as the terminal shows it."""

from __future__ import annotations

import click
from click.testing import CliRunner

HEAD = """# Commands

This is what `latentune COMMAND --help` prints. The exit code is 0 for done, 1 for failed, 2 for wrong usage and 130 for
interrupted.

"""
TERMINAL = {"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}


def command_page() -> str:
    """Returns the Markdown of all commands."""
    from latentune.pipelines.commands.main import app

    sections = [f"```text\n{_help()}\n```"]
    for words in command_names(app):
        sections.append(f"## {' '.join(words)}\n\n```text\n{_help(*words)}\n```")
    return HEAD + "\n\n".join(sections) + "\n"


def command_names(group: click.Group, *prefix: str) -> list[tuple[str, ...]]:
    """Returns the words of every command below a group, those of nested groups included."""
    names: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        names.append((*prefix, name))
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            names += command_names(command, *prefix, name)
    return names


def _help(*command: str) -> str:
    from latentune.pipelines.commands.main import app

    result = CliRunner().invoke(app, [*command, "--help"], env=TERMINAL, prog_name="latentune")
    if result.exit_code:
        raise RuntimeError(f"latentune {' '.join(command)} --help failed: {result.output}")
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())
