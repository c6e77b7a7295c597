"""The comparison as one self-contained HTML page: figures, plots, warnings, and files to listen to side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ...tokenizers.parts.errors import AudioError
from ..report import Report
from .result import EvaluationResult
from .sources import Source, SourceItem, choose_items
from .tables import detail_lines, shown_cells

REFERENCE = "reference"


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
        for caption, cells, missing in _rows(sources, num_players, player_s):
            report.add_audio_row(caption, cells, text=missing)
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


def _rows(
    sources: Mapping[str, Source], num_players: int, player_s: float
) -> list[tuple[str, list[tuple[str, Tensor, int]], str]]:
    """Rows of players, one file of every set each: (caption, cells, what could not be read)."""
    chosen = {name: choose_items(source.items, num_players) for name, source in sources.items()}
    rows = []
    for number in range(max(map(len, chosen.values()))):
        cells, missing = [], []
        for name, items in chosen.items():
            if number < len(items):
                item = items[number]
                try:
                    cells.append((f"{name}: {item.name}", *_read(sources[name], item, player_s)))
                except (AudioError, ValueError) as error:
                    missing.append(str(error))
        if cells:
            rows.append((f"File {number + 1}", cells, "; ".join(missing)))
    return rows


def _read(source: Source, item: SourceItem, player_s: float) -> tuple[Tensor, int]:
    """At most two channels, which is what players and codecs take."""
    audio, rate = source.read(item, player_s)
    return audio[:2], rate
