"""The comparison of sets as one HTML page: figures, plots, warnings, and files to listen to side by side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ....core.errors import AudioError
from ...data.audio.find import choose_items
from ..results import Grid, ResultsTable, detail_lines, note_lines, stem
from ..results.audio import AudioCell, AudioRow
from ..results.page import Report, results_page
from .sources import Source, SourceItem
from .views import evaluation_grid

REFERENCE = "reference"
UNPAIRED = "not pairs: files by their order alone, since their names do not match"
COLUMNS = {"source": "source", "num_files": "files", "num_windows": "windows", "num_silent": "silent"}


def evaluation_page(table: ResultsTable, sources: Mapping[str, Source], num_players: int, player_s: float) -> Report:
    """Builds the page.

    Args:
        table: of the results.
        sources: by name, the reference's and each system's; those given as statistics are missing.
        num_players: number of files of each that can be listened to.
        player_s: seconds of each of them.

    Returns:
        The page.
    """
    sides = {REFERENCE: table.facts["reference"]}
    sides |= {system: facts["summary"] for system, facts in table.systems.items()}
    keys = {**COLUMNS, "num_repeated": "repeated"}
    sets = Grid(
        caption="Sets",
        columns=["set", *keys.values(), "left out"],
        rows=[[name, *(side[key] for key in keys), len(side["failures"])] for name, side in sides.items()],
    )
    network = table.facts["embedder"]
    caption = f"Figures with their {table.resampling.confidence:.0%} intervals over files"
    return results_page(
        f"Evaluation: {', '.join(table.systems)}",
        [evaluation_grid(table, f"{caption}; second line: minus the first system")],
        notes=[*note_lines(table), *detail_lines(table)],
        warnings=table.warnings,
        draw=partial(_draw, table),
        players=_players(sources, num_players, player_s) if num_players and sources else [],
        appendix=[sets],
        methods=[f"Embedder {network['embedder']}: {network['preprocessing']}. Weights: {table.facts['weights']}."],
        failures=[
            {"set": name, "file": one["path"], "reason": one["reason"]}
            for name, side in sides.items()
            for one in side["failures"]
        ],
        facts={"schema": table.schema, **{k: table.facts[k] for k in ("version", "embedder", "networks", "settings")}},
    )


def _draw(table: ResultsTable, report: Report) -> None:
    """Adds of each figure the intervals of all systems, and distances by sample size where they are known."""
    for name, facts in table.figures.items():
        figures = {system: table.estimate(system, name) for system in table.systems}
        if all(figure.value is None for figure in figures.values()):
            continue
        rows = {system: (figure.value, figure.low, figure.high) for system, figure in figures.items()}
        report.add_intervals(name, rows, f"{name} ({facts.better} is better)")
        curves = {
            system: (figure.details["sample_sizes"], figure.details["distances"])
            for system, figure in figures.items()
            if {"sample_sizes", "distances"} <= figure.details.keys()
        }
        if curves:
            report.add_curve(f"{name}: distance by sample size", curves, "windows", "distance")


def _players(sources: Mapping[str, Source], num_players: int, player_s: float) -> list[AudioRow]:
    """Rows of players; what cannot be read is said below the caption."""
    found = []
    for caption, note, items in _rows(sources, num_players):
        cells: list[AudioCell] = []
        missing = [note] if note else []
        for name, item in items.items():
            try:
                audio, rate = sources[name].read(item, player_s)
            except (AudioError, ValueError) as error:
                missing.append(str(error))
            else:  # at most two channels, which is what players and codecs take
                cells.append(AudioCell(f"{name}: {item.name}", audio[:2], rate))
        if cells:
            found.append(AudioRow(caption=caption, cells=cells, note="; ".join(missing)))
    return found


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
        together = {name: chosen[number] for name, chosen in alone.items() if number < len(chosen)}
        rows.append((f"File {number + 1}", UNPAIRED if len(sources) > 1 else "", together))
    return rows
