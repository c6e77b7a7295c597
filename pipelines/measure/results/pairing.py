"""Counterparts of two lists of files, by their names: the only pairing in `measure`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """Which names of two lists are counterparts; tuples hold what is true of the first and of the second list."""

    pairs: list[tuple[int, int]]  # places in the first, rising, and in the second
    alone: tuple[list[str], list[str]]  # names that the other list does not have
    unclear: tuple[list[str], list[str]]  # names that it has apart from the suffix, for several files


def pair_names(first: Sequence[str], second: Sequence[str]) -> Pairing:
    """Pair files by their names.

    Suffixes do not count, `a/x.wav` pairs with `a/x.flac`, unless several files of a list differ only in their suffix:
    then only equal names pair. A name that occurs again is the same file in another row, with another prompt, and has
    its counterpart as well: the row of the same number, or the first again where the other list has fewer.
    """
    left, right = _by_stem(first), _by_stem(second)
    pairs: list[tuple[int, int]] = []
    unclear: tuple[list[str], list[str]] = ([], [])
    for ours, theirs in ((left[key], right[key]) for key in left if key in right):
        matched = {name: name for name in ours if name in theirs}
        if not matched and len(ours) == len(theirs) == 1:
            matched = dict(zip(ours, theirs, strict=True))
        for one, other in matched.items():
            places = theirs[other]
            pairs += [(place, places[number % len(places)]) for number, place in enumerate(ours[one])]
        unclear[0].extend(name for name in ours if name not in matched)
        unclear[1].extend(name for name in theirs if name not in matched.values())
    return Pairing(pairs=sorted(pairs), alone=(_lacking(left, right), _lacking(right, left)), unclear=unclear)


def stem(name: str) -> str:
    """The name that files pair by: without its suffix."""
    head, dot, _ = name.rpartition(".")
    return head if dot and "/" not in name[len(head) :] else name


def _by_stem(names: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    """The places of each name, by the stem that it shares with others."""
    found: dict[str, dict[str, list[int]]] = {}
    for place, name in enumerate(names):
        found.setdefault(stem(str(name)), {}).setdefault(name, []).append(place)
    return found


def _lacking(here: Mapping[str, Iterable[str]], there: Container[str]) -> list[str]:
    """Names whose stem is not there."""
    return [name for key, names in here.items() if key not in there for name in names]
