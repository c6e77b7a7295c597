"""Tables to read: cells of a results table, for the terminal and the page alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .rows import FigureFacts
from .samples import Difference, Estimate
from .table import ResultsTable

MOST_COLUMNS = 4  # figures next to each other before a row becomes a figure
ARROWS = {"lower": " ↓", "higher": " ↑", "zero": " → 0", None: ""}


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table to read; cells are numbers, texts or None."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.caption!r}: a row of {len(row)} values for {len(self.columns)} columns: {row!r}"
                )

    def transposed(self) -> Grid:
        """Returns the table with rows and columns exchanged."""
        lines = list(zip(self.columns, *self.rows, strict=True))
        return Grid(columns=lines[0], rows=lines[1:], caption=self.caption)


def heading(name: str, facts: FigureFacts) -> str:
    """The name of a figure, with an arrow in the direction that is better."""
    return name + ARROWS[facts.better]


def number_text(value: Any) -> str:
    """A cell as text: numbers with three significant digits or all of their integer part, None as -."""
    if value is None:
        return "-"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def interval_text(found: Estimate | Difference) -> str | None:
    """A figure with its interval; None where it has no value."""
    if found.value is None or found.low is None or found.high is None:
        return None if found.value is None else number_text(found.value)
    return f"{number_text(found.value)} [{number_text(found.low)}, {number_text(found.high)}]"


def comparison(
    table: ResultsTable,
    *,
    figures: Sequence[str] | None = None,
    leading: Mapping[str, Sequence[Any]] | None = None,
    differences: bool = False,
    transpose: bool | None = None,
    caption: str = "",
) -> Grid:
    """The figures of all systems with their intervals.

    Args:
        table: the table.
        figures: by default all that the table summarises.
        leading: columns before the figures, each with one cell per system; by default the system's name.
        differences: a second line in each cell gives the difference from the first system, with its p-value.
        transpose: one row per figure instead of one per system; by default where there are more than four figures.
        caption: of the grid.

    Returns:
        The grid.
    """
    names = list(table.figures if figures is None else figures)
    leading = {"system": list(table.systems)} if leading is None else leading
    first = next(iter(table.systems), "")
    rows = []
    for number, system in enumerate(table.systems):
        cells: list[Any] = [column[number] for column in leading.values()]
        for name in names:
            text = interval_text(table.estimate(system, name))
            delta = table.difference(first, system, name) if differences and number else None
            if text is not None and delta is not None:
                p_value = "" if delta.p_value is None else f", p = {delta.p_value:.2g}"
                text += f"\n{delta.value:+.3g}{p_value}"
            cells.append(text)
        rows.append(cells)
    heads = [*leading, *(heading(name, table.figures[name]) for name in names)]
    grid = Grid(columns=heads, rows=rows, caption=caption)
    return grid.transposed() if (len(names) > MOST_COLUMNS if transpose is None else transpose) else grid


def detail_lines(table: ResultsTable) -> list[str]:
    """Details that belong to figures, such as the bandwidth of a kernel; figures with equal lines share one."""
    found: dict[tuple[str, str], list[str]] = {}
    for system in table.systems:
        for name in table.figures:
            details = table.estimate(system, name).details
            single = {key: value for key, value in details.items() if isinstance(value, (int, float, str))}
            text = ", ".join(f"{key} {v if isinstance(v, str) else f'{v:.4g}'}" for key, v in single.items())
            found.setdefault((system, text), []).append(name)
    return [f"{system}: {', '.join(names)}: {text}" for (system, text), names in found.items() if text]


def note_lines(table: ResultsTable) -> list[str]:
    """Why figures or differences have no value or no interval, sorted."""
    first, lines = next(iter(table.systems), ""), set()
    for system in table.systems:
        for name in table.figures:
            lines.add(f"{name}: {table.estimate(system, name).note}")
            if system != first and not table.nested and (delta := table.difference(first, system, name)) is not None:
                lines.add(f"{name}, difference: {delta.note}")
    return sorted(line for line in lines if not line.endswith(": "))
