"""Figures over groups of files of similar length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from ..results import FigureFacts, Grid, ResultsTable, heading
from .groups import Group, group_means

LENGTH_EDGES_S = (3.0, 5.0, 10.0, 15.0, 20.0, 25.0)  # of the groups in which appendix A.6 of TAAE looks at lengths
SECONDS = "seconds"  # the row of every file that holds its length


def by_length(table: ResultsTable, edges_s: Sequence[float] = LENGTH_EDGES_S) -> list[Group]:
    """Returns the means of each system over groups of files of similar length.

    Args:
        table: of reconstructions.
        edges_s: between the groups, rising: from_s <= seconds < to_s. The first and last groups are open.

    Returns:
        One row per system and group, also for groups without a file: system, from_s, to_s, num_files, and of each
        figure {mean, low, high, num_values, num_missing}; None where there is no value or no interval.

    Raises:
        ValueError: edges that do not rise.
    """
    check_edges(edges_s)
    found = []
    for system in table.systems:
        lengths = {row.file: float(row.value or 0.0) for row in table.select(system, SECONDS)}
        for low, high in zip((0.0, *edges_s), (*edges_s, None), strict=True):
            files = {name for name, length in lengths.items() if low <= length and (high is None or length < high)}
            places = {"system": system, "from_s": low, "to_s": high, "num_files": len(files)}
            found.append({**places, **group_means(table, system, files)})
    return found


def check_edges(edges_s: Sequence[float]) -> None:
    """Raises ValueError unless the edges between groups of lengths rise from above 0."""
    if not edges_s or any(b <= a for a, b in pairwise(edges_s)) or edges_s[0] <= 0:
        raise ValueError(f"the edges of length bins must rise from above 0, got {tuple(edges_s)}")


def lengths_grid(groups: Sequence[Group], figures: Mapping[str, FigureFacts]) -> Grid:
    """Returns one row per system and group with a file; groups without one are named in the caption."""
    empty = dict.fromkeys(_length(row) for row in groups if not row["num_files"])
    return Grid(
        caption="means by length" + (f"; no file of {', '.join(empty)}" if empty else ""),
        columns=("length", "system", "files", *(heading(name, facts) for name, facts in figures.items())),
        rows=[
            [_length(row), row["system"], row["num_files"], *(row[name]["mean"] for name in figures)]
            for row in groups
            if row["num_files"]
        ],
    )


def _length(row: Group) -> str:
    return f"{row['from_s']:g}+ s" if row["to_s"] is None else f"{row['from_s']:g}-{row['to_s']:g} s"
