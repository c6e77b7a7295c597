"""Results as one HTML file that needs nothing else: tables, plots, spectrograms and players are inside.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from torch import Tensor

from ....core.extras import import_extra
from ....core.files import write_text
from ...data.audio.spectrogram import spectrogram_png
from .audio import MIME, AudioCell, AudioRow, Codec, encode_audio
from .grid import Grid, number_text
from .plots import curve_svg, intervals_svg


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

    def add_warning(self, text: str) -> None:
        """Adds a paragraph that stands out."""
        self._blocks.append({"kind": "warning", "text": text})

    def add_table(self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Adds a table. Numbers are shown with four significant digits, None as -.

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

    def add_audio_row(self, caption: str, cells: Sequence[AudioCell], text: str = "", codec: Codec = "ogg") -> None:
        """Adds players with spectrograms next to each other.

        Args:
            caption: above the row.
            cells: (label, audio [C, N], rate in Hz) of each player.
            text: a line below the caption.
            codec: `flac` (16 bit, lossless) or `ogg` (Opus, about a tenth of the size).

        Raises:
            ValueError: audio of another shape, or empty.
        """
        players = [_player(label, audio, rate, codec) for label, audio, rate in cells]
        self._blocks.append({"kind": "row", "caption": caption, "text": text, "cells": players})

    def add_audio(self, caption: str, audio: Tensor, sample_rate: int, text: str = "", codec: Codec = "flac") -> None:
        """Adds a player with its spectrogram below.

        Args:
            caption: above the player.
            audio: [C, N].
            sample_rate: in Hz.
            text: a line below the caption, such as the prompt.
            codec: as in `add_audio_row`.

        Raises:
            ValueError: audio of another shape, or empty.
        """
        self._blocks.append({"kind": "audio", "text": text, **_player(caption, audio, sample_rate, codec)})

    def render(self) -> str:
        """The page as text; everything added is escaped."""
        jinja2 = import_extra("jinja2", "report", "a report")
        template = (files(__package__) / "page.html.j2").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        return str(environment.from_string(template).render(title=self.title, blocks=self._blocks))

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
        warnings: what makes the figures unreliable.
        draw: adds plots to the page.
        players: audio to listen to.
        appendix: further tables, such as all rows.
        methods: sentences on how it was measured, such as the models of figures.
        failures: files that were left out, each with `path` and `reason`, and whatever else is known of them.
        facts: settings and identities, shown as JSON.

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
    for text in warnings:
        report.add_warning(text)
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
        report.add_text(json.dumps(facts, indent=2, ensure_ascii=False))
    return report


def _player(caption: str, audio: Tensor, sample_rate: int, codec: Codec) -> dict[str, str]:
    picture = io.BytesIO()
    spectrogram_png(picture, audio, sample_rate)
    return {
        "caption": caption,
        "mime": MIME[codec],
        "audio": _base64(encode_audio(audio, sample_rate, codec)),
        "picture": _base64(picture.getvalue()),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
