"""Files that are either whole or not there: write to a temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import OutputError
from .leftovers import temporary_path

WAYS_ON = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free space there or choose another output"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions or choose another output"),
}


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path next to `path`; on success it is fsynced and renamed, on failure removed.

    The suffix of `path` is kept at the end of the temporary name, for writers that choose a format by it. The parent
    folder must exist.

    Raises:
        OutputError: the file cannot be written (disk full, no permission); other errors of the writer go through.
    """
    path = Path(path)
    part = temporary_path(path)
    try:
        with writing(path):
            yield part
            let_others_read(part)
            sync(part)
            os.replace(part, path)
    finally:
        with suppress(OSError):  # of a folder that is not there or not writable: the reason was given above
            part.unlink(missing_ok=True)


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns an error of writing into an `OutputError` that names the path, the reason and what to do."""
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        if not isinstance(error, _write_errors()):
            raise
        raise output_error(path, error) from error


def output_error(path: str | Path, error: BaseException) -> OutputError:
    """Returns the error of a file or folder that cannot be written.

    Args:
        path: of the file or folder.
        error: of the system, or of a library that quotes one.
    """
    text = " ".join((getattr(error, "strerror", None) or str(error)).split())
    quoted = re.search(r"(?:os error|errno) (\d+)", text)  # as safetensors and pyarrow quote errors of the system
    number = getattr(error, "errno", None) or (int(quoted[1]) if quoted else 0)
    reason = os.strerror(number) if number else text
    way_on = WAYS_ON.get(number, "choose another output")
    return OutputError(number, f"cannot write {path} ({reason}): {way_on}")


def _write_errors() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (OSError, SafetensorError)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def let_others_read(*paths: Path) -> None:
    """Gives files the permissions of any new file; safetensors makes them readable to their owner only."""
    for path in paths:
        probe = temporary_path(path.with_name(path.name + ".mode"))
        probe.touch()  # the only way to read the umask without changing it for other threads
        try:
            path.chmod(stat.S_IMODE(probe.stat().st_mode))
        finally:
            probe.unlink()


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file atomically (UTF-8)."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Returns the contents of a JSON file; NaN and inf are refused, since other readers cannot read them."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file atomically; see `json_text`."""
    write_text(path, json_text(value))


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
