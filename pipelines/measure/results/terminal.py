"""Grids, warnings and notes for the terminal. Nothing is markup: square brackets in names are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .grid import Grid, number_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, Group
    from rich.table import Table

EDGE = 3  # characters around the text of a column


class TerminalTable:
    """A grid as tables of rich, the first column to the left and all others to the right.

    Columns that do not fit next to each other go into further tables, each with the first column.
    """

    def __init__(self, grid: Grid):
        self.grid = grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        for part in _parts(self.grid, options.max_width):
            yield _table(part)


def _parts(grid: Grid, width: int) -> Iterator[Grid]:
    """Yields grids of the first column and some others, at most `width` characters wide where they can be."""
    sizes = [
        EDGE + max(len(number_text(value)) for value in column) for column in zip(grid.columns, *grid.rows, strict=True)
    ]
    first, caption = 1, grid.caption
    while first < len(sizes) or first == 1:  # a grid of one column is one part
        last = first + 1
        while last < len(sizes) and sizes[0] + sum(sizes[first : last + 1]) <= width:
            last += 1
        rows = [[row[0], *row[first:last]] for row in grid.rows]
        yield Grid(columns=[grid.columns[0], *grid.columns[first:last]], rows=rows, caption=caption)
        first, caption = last, ""


def _table(grid: Grid) -> Table:
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

    parts: list[Any] = [TerminalTable(grid) for grid in grids]
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
