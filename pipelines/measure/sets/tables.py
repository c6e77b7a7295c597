"""The comparison as tables: CSV, and a table for the terminal."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.files import atomic_path
from .result import EvaluationResult, SystemResult

if TYPE_CHECKING:
    from rich.table import Table

MOST_COLUMNS = 4  # figures side by side on a terminal
SUFFIXES = ("", "_low", "_high", "_delta", "_delta_low", "_delta_high", "_p")


def write_csv(path: Path, result: EvaluationResult) -> None:
    """A row a system, seven columns a figure: value, interval, difference to the first system with interval and p."""
    header = ["system", "source", "num_files", "num_windows", "num_failed"]
    header += [name + suffix for name in result.columns for suffix in SUFFIXES]
    with atomic_path(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(_csv_row(system) for system in result.systems)


def _csv_row(system: SystemResult) -> list[Any]:
    summary = system.summary
    row: list[Any] = [
        system.name,
        summary.source,
        summary.num_files,
        summary.num_windows,
        len(summary.failures),
    ]
    deltas = {delta.name: delta for delta in system.deltas}
    for figure in system.figures:
        row += [figure.value, figure.low, figure.high]
        delta = deltas.get(figure.name)
        row += [None] * 4 if delta is None else [delta.value, delta.low, delta.high, delta.p_value]
    return row


def comparison_cells(result: EvaluationResult) -> tuple[list[str], list[list[str]]]:
    """Heads and cells of the comparison: a row a system, its figures with their intervals and what differs."""
    heads = ["system", "files", "windows", *(f"{name} {_arrow(result, name)}" for name in result.columns)]
    rows = []
    for system in result.systems:
        deltas = {delta.name: delta for delta in system.deltas}
        cells = [system.name, str(system.summary.num_files or "-"), str(system.summary.num_windows)]
        for figure in system.figures:
            text = "-" if figure.value is None else f"{figure.value:.4g}"
            if figure.low is not None and figure.high is not None:
                text += f" [{figure.low:.4g}, {figure.high:.4g}]"
            if (delta := deltas.get(figure.name)) is not None:
                text += f"\n{delta.value:+.3g}" + ("" if delta.p_value is None else f", p = {delta.p_value:.2g}")
            cells.append(text)
        rows.append(cells)
    return heads, rows


def shown_cells(result: EvaluationResult) -> tuple[list[str], list[list[str]]]:
    """The same to be read: with more than four figures a row is a figure and a column a system."""
    heads, rows = comparison_cells(result)
    if len(result.columns) > MOST_COLUMNS:
        lines = list(zip(heads, *rows, strict=True))
        return list(lines[0]), [list(line) for line in lines[1:]]
    return heads, rows


def detail_lines(result: EvaluationResult) -> list[str]:
    """What belongs to figures, such as a kernel's bandwidth or what CLAP gives to wrong prompts; equal lines as one."""
    figures: dict[tuple[str, str], list[str]] = {}
    for system in result.systems:
        for figure in system.figures:
            single = {key: value for key, value in figure.details.items() if isinstance(value, (int, float, str))}
            text = ", ".join(
                f"{key} {value if isinstance(value, str) else f'{value:.4g}'}" for key, value in single.items()
            )
            figures.setdefault((system.name, text), []).append(figure.name)
    return [f"{system}: {', '.join(names)}: {text}" for (system, text), names in figures.items() if text]


def comparison_table(result: EvaluationResult) -> Table:
    """The comparison for the terminal, as plain text: square brackets in the systems' names are no markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    heads, rows = shown_cells(result)
    table = Table(box=box.SIMPLE_HEAD)
    for number, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _arrow(result: EvaluationResult, name: str) -> str:
    """Which way is better."""
    return "↓" if result.systems[0].figure(name).better == "lower" else "↑"
