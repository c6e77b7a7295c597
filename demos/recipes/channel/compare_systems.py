"""Systems of several channel experiments, run with one channel on one set of files: tables in Markdown, and a plot.

python demos/recipes/channel/compare_systems.py comparison "fsq/:natural:FSQ" "rvq/:index:RVQ"

Each system is given as FOLDER:SYSTEM:LABEL, of a folder that `latentune experiment robustness` wrote. What its codec
decodes without a channel stands at p = 0. The output is comparison.md and comparison.png.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from latentune.pipelines.measure.channel.plots import robustness_png
from latentune.pipelines.measure.channel.systems import CLEAN
from latentune.pipelines.measure.codecs.figures.catalog import PAIR_FIGURES
from latentune.pipelines.measure.results import FigureFacts, ResultsTable

DIGITS = {"si_sdr_db": 1, "mel_distance": 2}  # after the point; 3 of all others


def read_folder(folder: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Returns the config and all rows of an experiment."""
    with open(folder / "robustness.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return json.loads((folder / "robustness.json").read_text())["config"], rows


def add_system(table: ResultsTable, rows: list[dict[str, str]], system: str, label: str) -> None:
    """Adds a system at every p, and its codec without a channel as p = 0, to a table."""
    chosen = [row for row in rows if row["system"] == system]
    if not chosen:
        raise SystemExit(f"no system {system!r}: there are {', '.join(sorted({row['system'] for row in rows}))}")
    clean = [{**row, "p": "0"} for row in rows if row["system"] == f"{CLEAN}, own"]
    for row in (*clean, *chosen):
        p = float(row["p"])
        key = f"{label}, p = {p:g}"
        table.systems.setdefault(key, {"system": label, "p": p})
        for figure in table.figures:
            table.add(key, row["file"], figure, float(row[figure]) if row[figure] else None)


def markdown(table: ResultsTable) -> str:
    """Returns a table per figure: a row per system, a column per p, means with 95 % intervals over files and seeds."""
    points = sorted({facts["p"] for facts in table.systems.values()})
    labels = list(dict.fromkeys(facts["system"] for facts in table.systems.values()))
    parts = []
    for figure in table.figures:
        head = f"| {figure} at p = | " + " | ".join(f"{p:g}" for p in points) + " |"
        lines = [head, "|---" * (len(points) + 1) + "|"]
        for label in labels:
            cells = [_cell(table, f"{label}, p = {p:g}", figure) for p in points]
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(table: ResultsTable, key: str, figure: str) -> str:
    if key not in table.systems:
        return ""
    found, digits = table.estimate(key, figure), DIGITS.get(figure, 3)
    if found.value is None:
        return "-"
    interval = "" if found.low is None else f" ({found.low:.{digits}f} to {found.high:.{digits}f})"
    return f"{found.value:.{digits}f}{interval}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="without a suffix")
    parser.add_argument("systems", nargs="+", metavar="FOLDER:SYSTEM:LABEL")
    parser.add_argument("--title", default="")
    parser.add_argument("--metrics", nargs="+", default=["estoi", "mel_distance"])
    parser.add_argument("--plot", nargs="+", help="of the metrics; by default all")
    arguments = parser.parse_args()
    facts = {name: PAIR_FIGURES[name].facts if name in PAIR_FIGURES else FigureFacts() for name in arguments.metrics}
    table = ResultsTable(nested=True, figures=facts)
    channels, files = set(), set()
    for given in arguments.systems:
        folder, system, label = given.split(":")
        config, rows = read_folder(Path(folder))
        channels.add(config["channel"])
        files.add((config["audio"], config["max_duration_s"]))
        add_system(table, rows, system, label)
    if len(channels) != 1 or len(files) != 1:
        parser.error(f"one channel and one set of files belong in a table, these have {channels} and {files}")
    arguments.output.with_suffix(".md").write_text(markdown(table))
    shown = {name: facts[name] for name in arguments.plot or facts}
    plot = arguments.output.with_suffix(".png")
    robustness_png(plot, table=table, figures=shown, title=arguments.title, channel=channels.pop())


if __name__ == "__main__":
    main()
