"""A results table as JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ....core.files import finite

if TYPE_CHECKING:
    from .table import ResultsTable

Record = dict[str, Any]
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet takes a text for a formula
FIGURE_KEYS = ("value", "low", "high", "num_values", "num_missing", "details", "note")  # of an `Estimate`, in JSON
DIFFERENCE_SUFFIXES = {"_delta": "value", "_delta_low": "low", "_delta_high": "high", "_p": "p_value"}


def records(table: ResultsTable) -> list[Record]:
    """Wide rows: system, file and the value of each figure, one for each system, file and repeat."""
    found: dict[tuple[str, str, int], Record] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for row in table.rows:
        number = seen[row[:3]] = seen.get(row[:3], -1) + 1
        record = found.setdefault((row.system, row.file, number), {"system": row.system, "file": row.file})
        record[row.figure] = row.value
    return list(found.values())


def summary_records(
    table: ResultsTable, figures: Sequence[str] | None = None, *, differences: bool = False
) -> list[Record]:
    """One row per system: its name, each figure with `_low` and `_high`, and the difference from the first system.

    Args:
        table: the table.
        figures: by default all that the table summarises.
        differences: add `_delta`, `_delta_low`, `_delta_high` and `_p` of each figure.

    Returns:
        Rows in the order of the systems; None where there is no value.
    """
    first = next(iter(table.systems), "")
    found = []
    for system in table.systems:
        record: Record = {"system": system}
        for name in table.figures if figures is None else figures:
            one = table.estimate(system, name)
            record |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
            if differences:
                delta = None if system == first else table.difference(first, system, name)
                for suffix, key in DIFFERENCE_SUFFIXES.items():
                    record[name + suffix] = None if delta is None else getattr(delta, key)
        found.append(record)
    return found


def table_dict(table: ResultsTable) -> Record:
    """The table for JSON: its facts, its warnings, and of each system its facts, figures and differences.

    Numbers that are not finite become None.
    """
    first = next(iter(table.systems), "")
    systems = []
    for system, facts in table.systems.items():
        figures = [_figure(table, system, name) for name in table.figures]
        deltas = [] if system == first or table.nested else _deltas(table, first, system)
        systems.append({"name": system, **facts, "figures": figures, "deltas": deltas})
    found: Record = finite({"schema": table.schema, **table.facts, "warnings": table.warnings, "systems": systems})
    return found


def csv_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, digits: int | None = 6) -> str:
    """Rows as CSV; an empty field has no value.

    Args:
        columns: in their order.
        rows: by column; one that a row lacks has no value.
        digits: significant digits of numbers that are not whole; None writes as many as read back to the same number.

    Returns:
        The text, with one line per row below the names of the columns.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    for row in rows:
        values = (row.get(column) for column in columns)
        writer.writerow(
            [f"{value:.{digits}g}" if digits and isinstance(value, float) else _cell(value) for value in values]
        )
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    """Returns a value that no spreadsheet takes for a formula: a text that looks like one gets an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_SIGNS) else value


def _figure(table: ResultsTable, system: str, name: str) -> Record:
    facts, found = table.figures[name], asdict(table.estimate(system, name))
    kept = {key: value for key, value in found.items() if key in FIGURE_KEYS}
    return {"name": name, "better": facts.better, "unit": facts.unit, **kept}


def _deltas(table: ResultsTable, first: str, system: str) -> list[Record]:
    pairs = ((name, table.difference(first, system, name)) for name in table.figures)
    kept = ("value", "low", "high", "p_value", "paired", "note")
    return [{"name": name, **{key: getattr(found, key) for key in kept}} for name, found in pairs if found is not None]
