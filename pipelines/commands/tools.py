"""What the commands share: options, errors as one line, progress bars, results. All imports are light."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from typer.core import TyperGroup

from ...core.errors import LatentuneError
from ...core.job_log import job_logger
from ...core.settings import load_config

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Config = Annotated[
    str | None, typer.Option("--config", "-c", help="YAML file with any of the keys, or a shipped name.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Further keys of the config.", show_default=False)
]
Tokenizer = Annotated[str | None, typer.Option(help="Shipped name, folder, or hub id.", show_default=False)]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...", show_default=False)]
Seed = Annotated[int | None, typer.Option(min=0, help="Same seed, same result.", show_default=False)]


class CommandGroup(TyperGroup):
    """Runs a command and turns what it raises into one line on stderr and exit code 1."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):  # wrong usage, which typer itself reports with exit code 2
                raise
            if ctx.params.get("debug"):
                traceback.print_exc()
            typer.echo(f"error: {one_line(error)}", err=True)
            raise typer.Exit(1) from error


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; of an unexpected one with its kind."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    if isinstance(error, (LatentuneError, ValueError, OSError, ModuleNotFoundError)):
        return text
    return f"unexpected {type(error).__name__}: {text} (latentune --debug ... shows where)"


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is at the time, so that lines do not run into a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def start_logging(verbose: bool) -> None:
    """Logs to stderr: warnings and the lines that a long job writes about itself, with `verbose` everything."""
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", handlers=[_StderrHandler()], force=True
    )
    logging.getLogger("latentune").setLevel(logging.INFO if verbose else logging.WARNING)
    job_logger.setLevel(logging.INFO)


def make_config(cls: type[T], source: str | None, overrides: Sequence[str] | None, given: Mapping[str, Any]) -> T:
    """A config dataclass from a YAML file, the options that were given, and `key=value` overrides, which win."""
    present = {key: value for key, value in given.items() if value not in (None, (), [])}
    return load_config(cls, source, overrides or (), present)


def show(facts: Mapping[str, Any], as_json: bool, text: str) -> None:
    """Print a result to stdout: `text`, or `facts` as one JSON object."""
    typer.echo(json.dumps(plain(facts), indent=2, ensure_ascii=False, default=str) if as_json else text)


def plain(value: Any) -> Any:
    """A value with NaN and inf, which JSON does not know, as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def process_rank() -> tuple[int, int]:
    """This process's number and how many there are, as torchrun and accelerate tell."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[..., None]]:
    """A progress bar on stderr, where that is a terminal and this is the first process.

    Yields `update(done, total, note="")`.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),  # names of files, in which square brackets are no markup
    )
    hidden = not console.is_terminal or process_rank()[0] > 0
    with Progress(*columns, console=console, disable=hidden) as progress:
        task = progress.add_task(title, total=None, note="")

        def update(done: float, total: float, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=note)

        yield update
