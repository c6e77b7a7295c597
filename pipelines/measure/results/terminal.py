"""Grids, warnings and notes for the terminal. Nothing is markup: square brackets in names are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .grid import Grid, number_text

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table


def terminal_table(grid: Grid) -> Table:
    """A grid as a table of rich, its first column to the left and all others to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = Text(grid.caption, style="table.title") if grid.caption else None
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for number, column in enumerate(grid.columns):
        table.add_column(Text(column), justify="right" if number else "left", overflow="fold", no_wrap=not number)
    for row in grid.rows:
        table.add_row(*(Text(number_text(value)) for value in row))
    return table


def terminal_view(grids: Sequence[Grid], warnings: Sequence[str] = (), notes: Sequence[str] = ()) -> Group:
    """Builds the view of a measurement.

    Args:
        grids: the tables.
        warnings: shown below them in yellow.
        notes: the last lines, such as how many files were left out.

    Returns:
        A group to print on a rich console.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [terminal_table(grid) for grid in grids]
    parts += [Text(f"warning: {line}", style="yellow") for line in warnings]
    return Group(*parts, *map(Text, notes))


def terminal_text(*parts: Any) -> str:
    """Renders tables and texts as rich prints them, without colours."""
    from rich.console import Console

    console = Console()
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return capture.get().strip("\n")
