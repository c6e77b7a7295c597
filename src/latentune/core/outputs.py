"""Where results go: folders that are checked to be writable before the work begins, and file names."""

from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from pathlib import Path

SLUG_LENGTH = 40  # characters


def prepare_output(folder: str | Path) -> Path:
    """Creates a folder, with its parents, and checks that files can be written to it.

    Raises:
        OSError: files cannot be written; the message names the folder and the reason.
    """
    path = Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            error.errno, f"cannot write to the folder {path} ({reason}): choose another output"
        ) from error
    return path


def slug(text: str) -> str:
    """Returns a text as a part of a file name: ASCII letters and digits with single hyphens, at most 40 characters."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text)[:SLUG_LENGTH].strip("-")
    return words or "sample"
