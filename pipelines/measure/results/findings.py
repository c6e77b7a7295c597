"""A measured table and how it is shown: the files that a measurement writes, and its view on the terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ....core.figures import can_draw
from ....core.files import finite, json_text, write_json, write_text
from ....core.outputs import rescued
from .export import csv_text, table_dict
from .grid import Grid
from .table import ResultsTable
from .terminal import terminal_view

if TYPE_CHECKING:
    from rich.console import Group

    from .audio import AudioRow
    from .page import Report

MOST_ROWS = 200  # of the CSV that the page shows


@dataclass(kw_only=True)
class Findings:
    """The findings of a measurement. Everything that is shown is computed from the table."""

    name: str  # of the measurement, and of its files
    table: ResultsTable
    columns: Sequence[str]  # of the CSV
    rows: Sequence[Mapping[str, Any]]  # of the CSV, by column; None where there is no value
    title: str = ""  # of the page
    grids: list[Grid] = field(default_factory=list)  # what a reader sees first
    draw: Callable[[str | Path | BinaryIO], None] | None = None  # writes the PNG
    players: list[AudioRow] = field(default_factory=list)
    rows_in_json: bool = True
    extra_csv: dict[str, str] = field(default_factory=dict)  # name of a further CSV file -> its text

    def to_dict(self) -> dict[str, Any]:
        """Returns all text and numbers, ready for JSON."""
        named = {"schema": self.table.schema, "measurement": self.name}
        found: dict[str, Any] = finite(
            {
                **named,
                **table_dict(self.table),
                "failures": self.table.failures,
                "undefined": self.table.undefined,
                **({"rows": self.rows} if self.rows_in_json else {}),
            }
        )
        return found

    def write(self, folder: str | Path) -> list[Path]:
        """Writes `name`.csv and .json, and with the extra `report` also .html and, where there is a plot, .png.

        Args:
            folder: which exists.

        Returns:
            The paths of the files.
        """
        csv_file, json_file, page, plot = (
            Path(folder) / f"{self.name}{suffix}" for suffix in (".csv", ".json", ".html", ".png")
        )
        texts = {csv_file: csv_text(self.columns, self.rows)}
        texts |= {Path(folder) / name: text for name, text in self.extra_csv.items()}
        with rescued(json_file.name, lambda: json_text(self.to_dict())):
            for path, text in texts.items():
                write_text(path, text)
            write_json(json_file, self.to_dict())
            paths = [*texts, json_file]
            if can_draw("plots and pages"):
                self.page().write(page)
                paths.append(page)
                if self.draw is not None:
                    self.draw(plot)
                    paths.append(plot)
        return paths

    def page(self) -> Report:
        """Returns the page: tables, warnings, the plot, files to listen to, all settings."""
        from .page import results_page

        def add_plot(report: Report) -> None:
            if self.draw is not None:
                picture = io.BytesIO()
                self.draw(picture)
                report.add_picture(self.name, picture.getvalue())

        shown = self.rows[:MOST_ROWS]
        appendix = Grid(
            caption=f"{len(shown)} of {len(self.rows)} rows of {self.name}.csv",
            columns=list(self.columns),
            rows=[[row.get(column) for column in self.columns] for row in shown],
        )
        facts = self.table.facts
        return results_page(
            self.title or self.name,
            self.grids,
            lead=self.counts(),
            warnings=self.table.warnings,
            draw=add_plot,
            players=self.players,
            appendix=[appendix],
            methods=self.methods(),
            failures=self.table.failures,
            facts={key: facts[key] for key in ("config", "codec") if facts.get(key) is not None},
        )

    def view(self) -> Group:
        """Returns the tables, warnings and models for a rich console."""
        return terminal_view(self.grids, self.table.warnings, [*self.methods(), self.counts()])

    def methods(self) -> list[str]:
        """Returns one sentence per figure that a model produces."""
        return [f"{name}: by {facts.model}" for name, facts in self.table.figures.items() if facts.model]

    def counts(self) -> str:
        """Returns how many files were measured, in a sentence."""
        return f"files: {len(self.table.files)} measured, {len(self.table.failures)} left out"
