"""Sentences about files that several measurements share."""

from __future__ import annotations

from collections.abc import Sequence


def few(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def silence_warning(names: Sequence[str]) -> str:
    """The warning about files of digital silence that were measured."""
    return f"{few(names)}: digital silence, whose distances are large and move the means: leave it out"
