"""The page of the command line: the help text of every command, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner

HEAD = """# Commands

This is what `latentune COMMAND --help` prints. The exit code is 0 for done, 1 for failed, 2 for wrong usage, 130 for
interrupted (Ctrl-C) and 143 for terminated (SIGTERM).

"""
TERMINAL = {"COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}


def command_page() -> str:
    """Returns the Markdown of all commands."""
    from latentune.pipelines.commands.main import app

    sections = [f"```text\n{_help(app)}\n```"]
    for words in _commands(app):
        heading = "#" * (len(words) + 1)
        sections.append(f"{heading} {' '.join(words)}\n\n```text\n{_help(app, *words)}\n```")
    return HEAD + "\n\n".join(sections) + "\n"


def _commands(group: click.Group, *words: str) -> Iterator[tuple[str, ...]]:
    """Yields the words of every command, a group before its own commands."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from _commands(command, *words, name)


def _help(app: click.Group, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--help"], env=TERMINAL, prog_name="latentune")
    if result.exit_code:
        raise RuntimeError(f"latentune {' '.join(words)} --help failed: {result.output}")
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())
