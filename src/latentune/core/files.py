"""Files that are either whole or not there: write to a temporary name, fsync, rename."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .leftovers import temporary_path


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; on success it is fsynced and renamed, on failure removed.

    The suffix of `path` is kept at the end of the temporary name, for writers that choose a format by it. The parent
    folder must exist. Whatever the writer raises is raised, `OSError` included (disk full, no permission).
    """
    path = Path(path)
    part = temporary_path(path)
    try:
        yield part
        let_others_read(part)
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def let_others_read(*paths: Path) -> None:
    """Gives files the permissions of any new file; safetensors makes them readable to their owner only."""
    for path in paths:
        probe = path.with_name(f".{path.name}.{os.getpid()}.mode")
        probe.touch()  # the only way to read the umask without changing it for other threads
        try:
            path.chmod(stat.S_IMODE(probe.stat().st_mode))
        finally:
            probe.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically (UTF-8)."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file atomically; NaN and inf are refused, since other readers cannot read them."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Returns a value for JSON: NaN and infinity, which it does not have, become None, and keys become text."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def file_sha256(path: str | Path) -> str:
    """Returns the hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
