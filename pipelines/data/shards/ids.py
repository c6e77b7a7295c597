"""Ids of items, and texts about files that do not depend on the place of the source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow


class UniqueIds:
    """Ids of items, of which no two are the same.

    A manifest may list a file several times, and a file may be called like an id that is made here.

    Args:
        names: of all files; the first file of a name has it as its id.
    """

    def __init__(self, names: Iterable[str]):
        self._names = frozenset(names)
        self._used: set[str] = set()
        self._counts: dict[str, int] = {}

    def of(self, name: str) -> str:
        """Returns the name at its first use, then the name with ~2, ~3 and so on."""
        self._counts[name] = count = self._counts.get(name, 0) + 1
        return self._take(name) if count == 1 else self._next(name, "~", count)

    def part(self, name: str, number: int) -> str:
        """Returns the id of a part of the file with the id `name`: name#0, name#1 and so on."""
        return self._next(name, "#", number)

    def _next(self, name: str, mark: str, number: int) -> str:
        candidate = f"{name}{mark}{number}"
        while candidate in self._names or candidate in self._used:
            name += mark
            candidate = f"{name}{number}"
        return self._take(candidate)

    def _take(self, name: str) -> str:
        self._used.add(name)
        return name


def name_items(
    names: pyarrow.Array, left_out: np.ndarray, files: np.ndarray, parts: np.ndarray
) -> tuple[pyarrow.Array, pyarrow.Array]:
    """Returns ids of items and of files that are left out, which are given in the order of the files.

    Args:
        names: [F] of the files.
        left_out: [F] bool.
        files: [N] numbers of the files of the items.
        parts: [N] numbers of the parts of a file that the items are.

    Returns:
        Ids of the items [N], and of the files [F], null where a file is not left out.
    """
    import pyarrow

    counts = np.bincount(files, minlength=len(names))
    taken: list[str] = names.to_pylist()
    if (counts <= 1).all() and len(set(taken)) == len(taken):
        return names.take(pyarrow.array(files)), _where(left_out, names)
    ids, of_files, of_items, begin = UniqueIds(taken), [], [], 0
    order = np.lexsort((parts, files))
    in_order = parts[order].tolist()
    for name, count in zip(taken, counts.tolist(), strict=True):
        of_files.append(ids.of(name))
        own = in_order[begin : begin + count]
        of_items += [of_files[-1]] if count == 1 else [ids.part(of_files[-1], number) for number in own]
        begin += count
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    text = pyarrow.large_string()
    return pyarrow.array(of_items, text).take(pyarrow.array(places)), _where(left_out, pyarrow.array(of_files, text))


def _where(chosen: np.ndarray, texts: pyarrow.Array) -> pyarrow.Array:
    import pyarrow.compute

    return pyarrow.compute.if_else(pyarrow.array(chosen), texts, pyarrow.scalar(None, texts.type))


def printable(name: str) -> str:
    """Returns the name with bytes escaped that are not UTF-8: file systems allow them, JSON and parquet do not."""
    return name if name.isascii() else name.encode(errors="backslashreplace").decode()


def relative_reason(error: Exception, path: object, name: str) -> str:
    """Returns the text of an error without the full path of the file, so that it does not depend on the place of the
    source.

    Args:
        error: about the file.
        path: full path or URL.
        name: relative path.
    """
    return " ".join(str(error).removeprefix(f"{path}: ").replace(str(path), name).split())
