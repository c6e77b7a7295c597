"""The comparison as one self-contained HTML page: figures, plots, warnings, and files to listen to side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ....core.errors import AudioError
from ..results.page import Report
from ..results.pairing import stem
from .result import EvaluationResult
from .sources import Source, SourceItem, choose_items
from .tables import detail_lines, shown_cells

REFERENCE = "reference"
UNPAIRED = "not pairs: files by their order alone, since their names do not match"


def write_page(
    path: Path, result: EvaluationResult, sources: Mapping[str, Source], num_players: int, player_s: float
) -> None:
    """Write the page.

    Args:
        sources: by name, the reference's and each system's; those given as statistics are not there.
        num_players: files of each that can be listened to, the first `player_s` seconds of them.
    """
    report = Report(f"Evaluation: {', '.join(system.name for system in result.systems)}")
    _add_figures(report, result)
    for text in result.warnings:
        report.add_warning(text)
    _add_plots(report, result)
    if num_players and sources:
        report.add_heading("Listen")
        for caption, text, items in _rows(sources, num_players):
            cells, missing = _cells(sources, items, player_s)
            if cells:
                report.add_audio_row(caption, cells, text="; ".join([text, *missing] if text else missing))
    report.add_heading("How it was measured")
    network = result.embedder
    sides = [(REFERENCE, result.reference), *((system.name, system.summary) for system in result.systems)]
    report.add_table(
        "Sets",
        ["set", "source", "files", "windows", "silent", "repeated", "left out"],
        [
            [
                name,
                side.source,
                side.num_files,
                side.num_windows,
                side.num_silent,
                side.num_repeated,
                len(side.failures),
            ]
            for name, side in sides
        ],
    )
    if failures := [[name, one["path"], one["reason"]] for name, side in sides for one in side.failures]:
        report.add_table("Left out", ["set", "file", "reason"], failures)
    report.add_text(f"Embedder {network['embedder']}: {network['preprocessing']}. Weights: {result.weights}.")
    facts = {"embedder": result.embedder, "networks": result.networks, "settings": result.settings}
    report.add_text(json.dumps({"schema": result.schema, "version": result.version, **facts}, indent=2))
    report.write(path)


def _add_figures(report: Report, result: EvaluationResult) -> None:
    heads, rows = shown_cells(result)
    confidence = result.settings.get("confidence", 0.95)
    report.add_table(
        f"Figures with their {confidence:.0%} intervals over files; second line: less the first system", heads, rows
    )
    notes = {f"{figure.name}: {figure.note}" for system in result.systems for figure in system.figures if figure.note}
    notes |= {f"{delta.name}, difference: {delta.note}" for row in result.systems for delta in row.deltas if delta.note}
    if lines := [*sorted(notes), *detail_lines(result)]:
        report.add_text("\n".join(lines))


def _add_plots(report: Report, result: EvaluationResult) -> None:
    for name in result.columns:
        figures = {system.name: system.figure(name) for system in result.systems}
        if all(figure.value is None for figure in figures.values()):
            continue
        better = next(iter(figures.values())).better
        rows = {system: (figure.value, figure.low, figure.high) for system, figure in figures.items()}
        report.add_intervals(name, rows, f"{name} ({better} is better)")
        curves = {
            system: (figure.details["sample_sizes"], figure.details["distances"])
            for system, figure in figures.items()
            if {"sample_sizes", "distances"} <= figure.details.keys()
        }
        if curves:
            report.add_curve(f"{name}: distance by sample size", curves, "windows", "distance")


def _rows(sources: Mapping[str, Source], num_players: int) -> list[tuple[str, str, dict[str, SourceItem]]]:
    """Rows of players: (caption, note, item of each set).

    A row has the files of one name, those first that most sets have. Sets that are in no such row follow side by side.
    """
    by_name: dict[str, dict[str, SourceItem]] = {}
    for name, source in sources.items():
        for item in source.items:
            by_name.setdefault(stem(item.name), {}).setdefault(name, item)
    rows: list[tuple[str, str, dict[str, SourceItem]]] = []
    for size in range(len(sources), 1, -1):
        firsts = [next(iter(items.values())) for items in by_name.values() if len(items) == size]
        for item in choose_items(firsts, num_players - len(rows)):
            rows.append((stem(item.name), "", by_name[stem(item.name)]))
    paired = {name for _, _, items in rows for name in items}
    alone = {name: choose_items(source.items, num_players) for name, source in sources.items() if name not in paired}
    for number in range(max(map(len, alone.values()), default=0)):
        beside = {name: chosen[number] for name, chosen in alone.items() if number < len(chosen)}
        rows.append((f"File {number + 1}", UNPAIRED if len(sources) > 1 else "", beside))
    return rows


def _cells(
    sources: Mapping[str, Source], items: Mapping[str, SourceItem], player_s: float
) -> tuple[list[tuple[str, Tensor, int]], list[str]]:
    """Players of the items by set, and what could not be read."""
    cells, missing = [], []
    for name, item in items.items():
        try:
            cells.append((f"{name}: {item.name}", *_read(sources[name], item, player_s)))
        except (AudioError, ValueError) as error:
            missing.append(str(error))
    return cells, missing


def _read(source: Source, item: SourceItem, player_s: float) -> tuple[Tensor, int]:
    """At most two channels, which is what players and codecs take."""
    audio, rate = source.read(item, player_s)
    return audio[:2], rate
