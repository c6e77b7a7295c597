"""The command `latentune`: a group of verbs, each in a module of its own, and the exit codes."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import Any

import click

from ...core.config import nearest_hint
from ...core.errors import TrainingInterrupted
from ...core.outputs import remove_unused
from .interruption import signal_of, sigterm_raises
from .tools import one_line, start_logging

VERBS = (
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
RENAMED = {"robustness": "experiment robustness", "probe": "experiment probe"}
FAILED = 1  # exit code; click itself exits with 2 for wrong usage


class Verbs(click.Group):
    """A group that imports a verb when it is used, and turns what it raises into one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] in RENAMED:
            ctx.fail(f"The command {args[0]!r} is now {RENAMED[args[0]]!r}.")
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"There is no command {args[0]!r}: {nearest_hint(args[0], VERBS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with sigterm_raises():
                return super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit, BrokenPipeError):
            raise
        except (TrainingInterrupted, KeyboardInterrupt) as error:
            click.echo(f"interrupted: {one_line(error)}" if str(error) else "interrupted", err=True)
            raise click.exceptions.Exit(128 + signal_of(error)) from error
        except Exception as error:
            if ctx.ensure_object(dict).get("debug"):
                traceback.print_exc()
            click.echo(f"error: {one_line(error)}", err=True)
            raise click.exceptions.Exit(FAILED) from error
        finally:
            remove_unused()


def main() -> None:
    """Runs the command line: the entry point of `latentune` and `python -m latentune`."""
    app(prog_name="latentune")


def _version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        from ... import __version__

        click.echo(f"latentune {__version__}")
        ctx.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
@click.option("--verbose", "-v", is_flag=True, help="Log every step of the work.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def app(ctx: click.Context, verbose: bool, debug: bool) -> None:
    """Neural audio codecs, and generators that are trained on their latents and tokens.

    Each command reads its settings from options, from key=value arguments and from YAML files (--config). Exit codes:
    0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C), 143 terminated (SIGTERM).
    """
    start_logging(verbose or debug)
    ctx.ensure_object(dict)["debug"] = debug


if __name__ == "__main__":
    main()
