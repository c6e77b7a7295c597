"""Folders that are either whole or as they were before: written under a temporary name, then exchanged."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError
from .files import sync, writing
from .leftovers import temporary_path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux's renameat2


@contextmanager
def atomic_folder(folder: str | Path, *, kept: Collection[str] = ()) -> Iterator[Path]:
    """Yields an empty temporary folder; on success it takes the place of `folder`, on failure it is removed.

    A process that is killed at any moment leaves the former folder or the new one; only where the folder is a mount
    point, or in one that is not writable, its entries are replaced one by one. Whether the former may be replaced is
    for the caller to check before; see `refuse_strangers`.

    Args:
        folder: its parents are created.
        kept: names of files that are copied from the former folder where they are not written again.

    Raises:
        OutputError: it cannot be written; the former folder is as it was.
    """
    folder = Path(folder).expanduser().resolve()
    # a mount point cannot be renamed, and a folder can be writable in one that is not
    inside = folder.is_dir() and (os.path.ismount(folder) or not os.access(folder.parent, os.W_OK))
    part = temporary_path(folder / folder.name if inside else folder)
    try:
        with writing(folder):
            shutil.rmtree(part, ignore_errors=True)  # of a killed process with the same number
            part.mkdir(parents=True)
            yield part
            for name in kept:
                if (folder / name).is_file() and not (part / name).exists():
                    shutil.copy2(folder / name, part / name)
            for path in sorted(part.rglob("*")):
                sync(path)
            if inside:
                _move_contents(part, folder)
            else:
                _put_in_place(part, folder)
                sync(folder.parent)
    except OutputError as error:
        raise OutputError(error.errno or 0, str(error).replace(str(part), str(folder))) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def refuse_strangers(folder: str | Path, own: Collection[str], what: str, *, mark: str) -> None:
    """Refuses a folder with files that saving would remove.

    Args:
        folder: it need not exist.
        own: names of files and folders that are replaced; a name that ends in `*` stands for all that begin like it.
        what: is saved, for the message.
        mark: name of the file without which nothing in the folder is ours.

    Raises:
        ValueError: the folder holds something else, or is a file.
    """
    path = Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise ValueError(f"cannot save {what} as {path}: it is a file; give a folder")
    names = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
    if names and mark not in names:
        raise ValueError(f"{path} holds other files, such as {names[0]}: choose a new folder for {what}")
    for name in names:
        if not any(name == one or (one.endswith("*") and name.startswith(one[:-1])) for one in own):
            raise ValueError(f"{path} holds other files, such as {name}: choose a new folder for {what}")


def _put_in_place(part: Path, path: Path) -> None:
    """Gives `part` the name `path`; a folder that was there before then has the name `part`, or none."""
    if not path.is_dir() or not any(path.iterdir()):
        os.replace(part, path)
    elif not _exchange(part, path):
        aside = temporary_path(path.with_name(f"{path.name}.old"))
        os.replace(path, aside)
        try:
            os.replace(part, path)
        except OSError:
            os.replace(aside, path)
            raise
        shutil.rmtree(aside)


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges the names of two folders in one step; returns False where the system cannot."""
    if sys.platform != "linux":
        return False
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _move_contents(part: Path, folder: Path) -> None:
    """Moves what `part` holds into `folder`, in which it lies, in place of what the latter held, one by one."""
    names = {entry.name for entry in part.iterdir()}
    for name in sorted(names):
        _put_in_place(part / name, folder / name)
    for entry in folder.iterdir():
        if entry != part and entry.name not in names:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
