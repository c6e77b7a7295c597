"""An experiment as one self-contained HTML page: tables, warnings, the plot, files to listen to, all settings."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ..results.page import Report

if TYPE_CHECKING:
    from .result import ExperimentResult

MOST_ROWS = 200  # of the CSV that the page shows


def write_page(path: Path, result: ExperimentResult) -> None:
    """Write the page."""
    facts = result.facts
    report = Report(f"{result.name}: {facts['config']['tokenizer']} on {facts['config']['audio']}")
    report.add_text(f"{facts['num_files']} files were measured, {len(facts['failures'])} left out.")
    for table in result.tables:
        report.add_table(table.caption, table.columns, table.rows)
    for text in result.warnings:
        report.add_warning(text)
    if result.draw is not None:
        picture = io.BytesIO()
        result.draw(picture)
        report.add_picture(result.name, picture.getvalue())
    if result.players:
        report.add_heading("Listen")
        for name, cells in result.players:
            report.add_audio_row(name, cells)
    report.add_heading("All rows")
    shown = result.rows[:MOST_ROWS]
    report.add_table(
        f"{len(shown)} of {len(result.rows)} rows of {result.name}.csv",
        result.columns,
        [[row.get(column) for column in result.columns] for row in shown],
    )
    report.add_heading("How it was measured")
    if facts["failures"]:
        report.add_table("Left out", ["file", "reason"], [[one["path"], one["reason"]] for one in facts["failures"]])
    for figure, model in facts["models"].items():
        report.add_text(f"{figure}: by {model}")
    named = {key: facts[key] for key in ("config", "codec") if facts.get(key) is not None}
    report.add_text(json.dumps(named, indent=2, ensure_ascii=False))
    report.write(path)
