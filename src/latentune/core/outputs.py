"""Where results go: folders that are checked to be writable before the work begins, and file names."""

from __future__ import annotations

import errno
import logging
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import OutputError
from .files import write_text, writing

logger = logging.getLogger(__name__)

PROBE_BYTES = 4096  # a smaller file needs no block of its own on some file systems
SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+:$")  # part of a path that was made of a URL; a drive has one letter
SLUG_LENGTH = 40  # characters
_made: list[Path] = []  # the folders that this process created, parents first


def prepare_output(folder: str | Path) -> Path:
    """Creates a folder, with its parents, and checks that files can be written to it.

    Raises:
        OutputError: files cannot be written; the message names the folder and the reason.
        ValueError: the folder is a URL.
    """
    if any(SCHEME.match(part) for part in Path(folder).parts):
        raise ValueError(f"cannot write to {folder}: of URLs, only `encode` writes to them; give a folder and copy it")
    path = Path(folder).expanduser()
    with writing(f"to the folder {path}"):
        _made.extend(part for part in reversed((path, *path.parents)) if not part.exists())
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    return path


def prepare_output_file(path: str | Path) -> Path:
    """Creates the folder of a file, with its parents, and checks that the file can be written.

    Raises:
        OutputError: it cannot be written; the message names the path and the reason.
        ValueError: the path is a URL.
    """
    path = Path(path).expanduser()
    prepare_output(path.absolute().parent)
    if path.is_dir():
        raise OutputError(errno.EISDIR, f"cannot write {path} ({os.strerror(errno.EISDIR)}): name a file in it")
    return path


def remove_unused() -> None:
    """Removes the folders that `prepare_output` created in this process and that are still empty."""
    while _made:
        with suppress(OSError):  # it is in use, or gone
            _made.pop().rmdir()


@contextmanager
def rescued(name: str, make_text: Callable[[], str]) -> Iterator[None]:
    """Keeps results that cannot be written: they are written to a temporary folder instead, which the error names.

    Args:
        name: of the file in that folder.
        make_text: returns its contents.
    """
    try:
        yield
    except OSError as error:
        try:
            rescue = Path(tempfile.mkdtemp(prefix="latentune-")) / name
            write_text(rescue, make_text())
        except OSError:
            logger.error("the results cannot be written anywhere: %s", make_text())
            raise error from None
        raise OutputError(error.errno or 0, f"{error}; the results are in {rescue}") from error


def slug(text: str) -> str:
    """Returns a text as a part of a file name: ASCII letters and digits with single hyphens, at most 40 characters."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text)[:SLUG_LENGTH].strip("-")
    return words or "sample"
