"""What an experiment found: rows, tables to read, the facts around them, and how they are written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from ....core.files import write_json, write_text
from .codec_result import csv_text
from .page import write_page

SCHEMA = "latentune-experiment-1"
Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table for the terminal and the page; None where there is no value."""

    caption: str
    columns: tuple[str, ...]
    rows: Sequence[Sequence[Any]]


@dataclass(kw_only=True)
class ExperimentResult:
    """Rows of the CSV; None where there is no value."""

    name: str
    columns: tuple[str, ...]
    rows: list[Row]
    tables: list[Table] = field(default_factory=list)  # what a reader sees first
    facts: dict[str, Any] = field(default_factory=dict)  # config, codec, models, what was left out and why
    warnings: list[str] = field(default_factory=list)
    draw: Callable[[str | Path | BinaryIO], None] | None = None  # writes the PNG
    # files to listen to: name, and the cells beside each other as (label, audio [C, N], rate in Hz)
    players: list[tuple[str, list[tuple[str, Tensor, int]]]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything that is text or number, ready for JSON."""
        return {"schema": SCHEMA, "experiment": self.name, "rows": self.rows, "warnings": self.warnings, **self.facts}

    def write(self, folder: str | Path) -> list[Path]:
        """`name`.csv, .json, .html and, where there is a plot, .png in a folder that exists; returns their paths."""
        paths = [Path(folder) / f"{self.name}{suffix}" for suffix in (".csv", ".json", ".html", ".png")]
        write_text(paths[0], csv_text(self.columns, self.rows))
        write_json(paths[1], self.to_dict())
        write_page(paths[2], self)
        if self.draw is None:
            return paths[:3]
        self.draw(paths[3])
        return paths


def with_interval(value: float | None, low: float | None, high: float | None) -> str | None:
    """A figure as a cell of a table."""
    if value is None or low is None or high is None:
        return None if value is None else f"{value:.4g}"
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def row_cell(row: Row, figure: str) -> str | None:
    """The same of a row that holds the ends of the interval as `figure_low` and `figure_high`."""
    return with_interval(row.get(figure), row.get(f"{figure}_low"), row.get(f"{figure}_high"))
