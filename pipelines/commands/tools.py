"""Parts that the commands share: results, errors as one line, logging, progress bars. All imports are light."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from ...core.errors import LatentuneError
from ...core.extras import explained
from ...core.files import finite
from ...core.job_log import job_logger
from ...core.processes import Place

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

LINE_EVERY_S = 30.0  # time between two lines of progress where there is no terminal


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a command."""

    facts: Mapping[str, Any] | None  # printed as JSON with --json; None prints nothing
    text: RenderableType = ""  # printed otherwise; nothing is printed if it is empty
    exit_code: int = 0

    def show(self, as_json: bool) -> None:
        """Prints the result to stdout."""
        if self.facts is None:
            return
        if as_json:
            click.echo(json.dumps(finite(self.facts), indent=2, ensure_ascii=False, default=str))
        elif isinstance(self.text, str):
            if self.text:
                click.echo(visible(self.text))
        else:
            from rich.console import Console

            Console().print(_Visible(self.text))


@dataclass(frozen=True)
class _Visible:
    """A table or text of rich without the control characters that names in it may hold."""

    content: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for part in console.render(self.content, options):
            yield part if part.control else Segment(visible(part.text), part.style)


def visible(text: str) -> str:
    r"""Returns a text for a terminal: control characters, of a file name say, become escapes such as `\x1b`."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def one_line(error: BaseException) -> str:
    """Returns the message of an error without line breaks; that of an unexpected error with its class."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror and error.filename:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError) and error.strerror:
        text = " ".join(error.strerror.split())  # without "[Errno 2]"
    text = visible(text)
    if isinstance(error, ImportError) and not isinstance(error, LatentuneError):
        text = visible(" ".join(str(explained(error) or error).split()))
    if _is_lack_of_memory(error):
        return (
            f"not enough memory ({text}): ask for less at once, such as shorter audio (seconds, data.crop_s), fewer "
            "items (batch_size), or precision=bf16"
        )
    if isinstance(error, (LatentuneError, ValueError, OSError, ImportError, KeyboardInterrupt)):
        return text
    return f"unexpected {type(error).__name__}: {text} (latentune --debug ... shows where)"


def _is_lack_of_memory(error: BaseException) -> bool:
    """Whether Python, PyTorch on the CPU, or PyTorch on a GPU could not allocate memory."""
    of_torch = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and of_torch)


def start_logging(verbose: bool) -> None:
    """Logs to stderr: warnings and the lines that a long job writes about itself, with `verbose` everything."""
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", handlers=[_StderrHandler()], force=True
    )
    if not verbose:  # x-transformers uses torch.jit.script, which newer versions of torch deprecate
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.jit\..*")
    logging.getLogger("latentune").setLevel(logging.INFO if verbose else logging.WARNING)
    job_logger.setLevel(logging.INFO)


class _StderrHandler(logging.StreamHandler[Any]):
    """Writes to what `sys.stderr` is at the time, so that lines do not run into a progress bar."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))

    @property
    def stream(self) -> Any:
        return sys.stderr


@contextmanager
def progress_bar(title: str, *, lines: bool = True) -> Iterator[Callable[..., None]]:
    """Shows progress on stderr: a bar in a terminal, else a line now and then. Only the first process shows it.

    Yields `update(done, total, note="")`. Jobs that log their own lines turn `lines` off.
    """
    from rich.console import Console

    console, rank = Console(stderr=True), Place.now().rank
    if rank == 0 and console.is_terminal:
        yield from _bar(title, console)
    elif rank == 0 and lines:
        yield _lines(title)
    else:
        yield lambda done, total, note="": None


def _bar(title: str, console: Console) -> Iterator[Callable[..., None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),  # square brackets in the name of a file are not markup
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, note="")

        def update(done: float, total: float, note: str = "") -> None:
            progress.update(task, completed=done, total=total, note=visible(note))

        yield update


def _lines(title: str) -> Callable[..., None]:
    written_s = time.monotonic()

    def update(done: float, total: float, note: str = "") -> None:
        nonlocal written_s
        if time.monotonic() - written_s >= LINE_EVERY_S:
            written_s = time.monotonic()
            click.echo(f"{title}: {done:g} of {total:g}{f', {visible(note)}' if note else ''}", err=True)

    return update
