"""The comparison of sets for the terminal and as CSV."""

from __future__ import annotations

from typing import Any

from ..results import (
    Grid,
    ResultsTable,
    TerminalTable,
    comparison,
    csv_text,
    detail_lines,
    summary_records,
    terminal_text,
)
from ..results.export import DIFFERENCE_SUFFIXES

SUFFIXES = ("", "_low", "_high", *DIFFERENCE_SUFFIXES)


def evaluation_csv(table: ResultsTable) -> str:
    """A row per system, seven columns per figure: value, interval, difference from the first with interval and p."""
    columns = ["system", "source", "num_files", "num_windows", "num_failed"]
    columns += [name + suffix for name in table.figures for suffix in SUFFIXES]
    rows = summary_records(table, differences=True)
    for row in rows:
        summary = table.systems[row["system"]]["summary"]
        row |= {key: summary[key] for key in ("source", "num_files", "num_windows")}
        row["num_failed"] = len(summary["failures"])
    return csv_text(columns, rows, digits=None)


def evaluation_grid(table: ResultsTable, caption: str = "") -> Grid:
    """The figures of all systems with intervals and differences, next to the numbers of files and windows."""
    summaries = [facts["summary"] for facts in table.systems.values()]
    leading: dict[str, list[Any]] = {
        "system": list(table.systems),
        "files": [summary["num_files"] or None for summary in summaries],
        "windows": [summary["num_windows"] for summary in summaries],
    }
    return comparison(table, leading=leading, differences=True, caption=caption)


def evaluation_text(table: ResultsTable) -> str:
    """One figure of one system as a line, everything else as a table; then details, numbers of files and warnings."""
    if len(table.systems) > 1 or len(table.figures) > 1:
        head = terminal_text(TerminalTable(evaluation_grid(table)))
    else:
        found = table.estimate(next(iter(table.systems)), table.metric)
        ends = "" if found.low is None or found.high is None else f" [{found.low:.6g}, {found.high:.6g}]"
        head = f"{table.metric} {table.value:.6g}{ends}"
    counts = [_count("reference", table.facts["reference"])]
    for system, facts in table.systems.items():
        counts.append(_count(system if len(table.systems) > 1 else "generated", facts["summary"]))
    return "\n".join([head, *detail_lines(table), *counts, *(f"warning: {text}" for text in table.warnings)])


def _count(name: str, summary: dict[str, Any]) -> str:
    if not summary["num_files"]:
        return f"{name} statistics of {summary['num_windows']} windows"
    counts = f"{summary['num_files']} files, {summary['num_windows']} windows"
    return f"{name} {counts}, {len(summary['failures'])} left out"
