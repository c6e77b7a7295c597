"""Figures over groups of files that share a value of a column of the manifest, such as their language."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any

from ....core.config import nearest_hint
from ....core.errors import ConfigError
from ...data.audio.item import AudioItem
from ..results import FigureFacts, Grid, ResultsTable, heading

NO_VALUE = "(no value)"  # group of the files whose row leaves the column out

Group = dict[str, Any]  # one system and group of files


def column_values(items: Sequence[AudioItem], column: str) -> dict[str, str]:
    """Returns the value of a column for each file, by name; `NO_VALUE` where a row has none.

    Raises:
        ConfigError: no file has such a column.
    """
    known = sorted({name for item in items for name in item.metadata})
    if column not in known:
        hint = nearest_hint(column, known) if known else "the source is not a manifest with further columns"
        raise ConfigError(f"no file has a column {column!r}: {hint}")
    values = ((item.name, item.metadata.get(column)) for item in items)
    return {name: NO_VALUE if value is None else str(value) for name, value in values}


def group_means(table: ResultsTable, system: str, files: Container[str]) -> dict[str, dict[str, Any]]:
    """Returns of each figure {mean, low, high, num_values, num_missing} of a system over some files.

    Args:
        table: of the files.
        system: one of the table's.
        files: the names of those that count.
    """
    found = {}
    for figure in table.figures:
        one = table.estimate(system, figure, files)
        counts = {"num_values": one.num_values, "num_missing": one.num_missing}
        found[figure] = {"mean": one.value, "low": one.low, "high": one.high, **counts}
    return found


def by_value(table: ResultsTable, values: Mapping[str, str]) -> list[Group]:
    """Returns the means of each system over the files that share a value.

    Args:
        table: of reconstructions.
        values: of each file, by name; see `column_values`.

    Returns:
        One row per value, in order, and system: value, system, num_files, and of each figure the dict of `group_means`.
    """
    measured = set(table.files)
    found = []
    for value in sorted(set(values.values())):
        files = {name for name, own in values.items() if own == value} & measured
        for system in table.systems:
            means = group_means(table, system, files)
            found.append({"value": value, "system": system, "num_files": len(files), **means})
    return found


def values_grid(groups: Sequence[Group], column: str, figures: Mapping[str, FigureFacts]) -> Grid:
    """Returns one row per value and system.

    Args:
        groups: of `by_value`.
        column: of the manifest.
        figures: shown, by name.
    """
    return Grid(
        caption=f"means by {column}",
        columns=(column, "system", "files", *(heading(name, facts) for name, facts in figures.items())),
        rows=[
            [row["value"], row["system"], row["num_files"], *(row[name]["mean"] for name in figures)] for row in groups
        ],
    )
