"""Results as one HTML file that needs nothing else: tables, plots, spectrograms and players are inside.

It follows the reader's choice of light or dark, and fits a phone.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from ....core.extras import import_extra
from ....core.files import write_text
from ...data.audio.encoded import FORMATS, AudioFormat, audio_bytes
from .audio import AudioCell, AudioRow
from .grid import Grid, number_text
from .plots import curve_svg, intervals_svg
from .spectrograms import shared_spectrograms


class Report:
    """Blocks of a page in the order in which they are added; `write` makes the file."""

    def __init__(self, title: str):
        self.title = title
        self._blocks: list[dict[str, Any]] = []

    def add_heading(self, text: str) -> None:
        """Begins a section."""
        self._blocks.append({"kind": "heading", "text": text})

    def add_text(self, text: str) -> None:
        """Adds a paragraph; line breaks are kept."""
        self._blocks.append({"kind": "text", "text": text})

    def add_warnings(self, summary: str, lines: Sequence[str]) -> None:
        """Adds a line that stands out, and unfolds to further ones. An empty list adds nothing.

        Args:
            summary: the line.
            lines: what it unfolds to.
        """
        if lines:
            self._blocks.append({"kind": "warnings", "summary": summary, "lines": list(lines)})

    def add_folded(self, summary: str, text: str) -> None:
        """Adds a line that unfolds to a text; line breaks and spaces of the text are kept."""
        self._blocks.append({"kind": "folded", "summary": summary, "text": text})

    def add_table(self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Adds a table. Numbers are rounded to three significant digits, None is shown as -.

        Args:
            caption: above the table.
            columns: their names.
            rows: of one value for each column.

        Raises:
            ValueError: a row that does not have one value for each column.
        """
        self.add_grid(Grid(caption=caption, columns=columns, rows=rows))

    def add_grid(self, grid: Grid) -> None:
        """Adds a table that was built before."""
        numeric = [any(_is_number(row[i]) for row in grid.rows) for i in range(len(grid.columns))]
        rows = [[(number_text(v), number) for v, number in zip(row, numeric, strict=True)] for row in grid.rows]
        columns = list(zip(grid.columns, numeric, strict=True))
        self._blocks.append({"kind": "table", "caption": grid.caption, "columns": columns, "rows": rows})

    def add_curve(
        self, caption: str, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str
    ) -> None:
        """Adds a plot of lines.

        Args:
            caption: above the plot.
            curves: the lines by name, each as (x, y).
            x_label: label of the x axis.
            y_label: label of the y axis.

        Raises:
            ValueError: no curve, or x and y of different lengths.
        """
        self._add_picture(caption, "image/svg+xml", curve_svg(curves, x_label, y_label).encode())

    def add_intervals(
        self, caption: str, rows: Mapping[str, tuple[float | None, float | None, float | None]], label: str
    ) -> None:
        """Adds a plot of points with their intervals.

        Args:
            caption: above the plot.
            rows: (value, low, high) by name.
            label: of the axis of values.
        """
        self._add_picture(caption, "image/svg+xml", intervals_svg(rows, label).encode())

    def add_picture(self, caption: str, png: bytes) -> None:
        """Adds a picture that was drawn before."""
        self._add_picture(caption, "image/png", png)

    def add_audio_row(
        self, caption: str, cells: Sequence[AudioCell], text: str = "", format: AudioFormat = "opus"
    ) -> None:
        """Adds players next to each other, with spectrograms that share their axes.

        Args:
            caption: above the row.
            cells: the players.
            text: a line below the caption.
            format: of the audio, such as `flac` (lossless) or `opus` (about a tenth of the size).

        Raises:
            ValueError: audio of another shape, or empty.
        """
        pictures = shared_spectrograms(cells)
        players = [_player(caption, *both, format) for both in zip(cells, pictures, strict=True)]
        self._blocks.append({"kind": "row", "caption": caption, "text": text, "cells": players})

    def render(self) -> str:
        """The page as text; everything added is escaped."""
        jinja2 = import_extra("jinja2", "report", "a report")
        template = (files(__package__) / "page.html.j2").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        sections = [block["text"] for block in self._blocks if block["kind"] == "heading"]
        return str(environment.from_string(template).render(title=self.title, blocks=self._blocks, sections=sections))

    def write(self, path: str | Path) -> None:
        """Writes the page atomically; the folder must exist."""
        write_text(path, self.render())

    def _add_picture(self, caption: str, mime: str, data: bytes) -> None:
        self._blocks.append({"kind": "picture", "caption": caption, "mime": mime, "data": _base64(data)})


def results_page(
    title: str,
    grids: Sequence[Grid],
    *,
    lead: str = "",
    notes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    draw: Callable[[Report], None] | None = None,
    players: Sequence[AudioRow] = (),
    appendix: Sequence[Grid] = (),
    methods: Sequence[str] = (),
    failures: Sequence[Mapping[str, str]] = (),
    facts: Mapping[str, Any] | None = None,
) -> Report:
    """Builds the page of any measurement: figures, warnings, plots, audio, and how it was measured.

    Args:
        title: of the page.
        grids: the figures.
        lead: a sentence above them.
        notes: lines below them.
        warnings: what makes the figures unreliable, as one line that unfolds.
        draw: adds plots to the page.
        players: audio to listen to.
        appendix: further tables, such as all rows.
        methods: sentences on how it was measured, such as the models of figures.
        failures: files that were left out, each with `path` and `reason`, and whatever else is known of them.
        facts: settings and identities, folded in as JSON.

    Returns:
        The page, which `write` makes a file.
    """
    report = Report(title)
    if lead:
        report.add_text(lead)
    for grid in grids:
        report.add_grid(grid)
    if notes:
        report.add_text("\n".join(notes))
    count = f"{len(warnings)} warnings" if len(warnings) > 1 else "1 warning"
    report.add_warnings(f"{count} about these figures", warnings)
    if draw is not None:
        draw(report)
    if players:
        report.add_heading("Listen")
    for row in players:
        report.add_audio_row(row.caption, row.cells, text=row.note)
    report.add_heading("How it was measured")
    for grid in appendix:
        report.add_grid(grid)
    if failures:
        columns = list(failures[0])
        rows = [[one[column] for column in columns] for one in failures]
        report.add_grid(Grid(caption="Left out", columns=columns, rows=rows))
    for text in methods:
        report.add_text(text)
    if facts is not None:
        report.add_folded("Settings and identities", json.dumps(facts, indent=2, ensure_ascii=False))
    return report


def _player(row: str, cell: AudioCell, picture: bytes, format: AudioFormat) -> dict[str, str]:
    return {
        "caption": cell.label,
        "name": f"{row}: {cell.label}" if row and cell.label else row or cell.label,
        "mime": FORMATS[format].mime,
        "audio": _base64(audio_bytes(cell.audio, cell.sample_rate, format)),
        "picture": _base64(picture),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
