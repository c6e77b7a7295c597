"""Systems of several channel experiments, run with one channel on one set of files, in one plot.

python demos/recipes/channel_plot.py channel.png "fsq/:natural:FSQ, natural binary" "rvq/:index:RVQ"

Each system is given as FOLDER:SYSTEM:LABEL, of a folder that `latentune experiment robustness` wrote.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from latentune.pipelines.measure.channel.plots import robustness_png
from latentune.pipelines.measure.codecs.figures.catalog import PAIR_FIGURES
from latentune.pipelines.measure.results import FigureFacts, ResultsTable


def add_system(table: ResultsTable, folder: Path, system: str, label: str) -> None:
    """Adds the rows of one system of a folder, at every p, to a table."""
    with open(folder / "robustness.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["system"] == system]
    for row in rows:
        key = f"{label}, p = {row['p']}"
        table.systems.setdefault(key, {"system": label, "p": float(row["p"])})
        for figure in table.figures:
            table.add(key, row["file"], figure, float(row[figure]) if row[figure] else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("systems", nargs="+", metavar="FOLDER:SYSTEM:LABEL")
    parser.add_argument("--title", default="")
    parser.add_argument("--metrics", nargs="+", default=["stoi", "mel_distance", "mel_to_clean"])
    arguments = parser.parse_args()
    facts = {name: PAIR_FIGURES[name].facts if name in PAIR_FIGURES else FigureFacts() for name in arguments.metrics}
    table = ResultsTable(nested=True, figures=facts)
    channels, files = set(), set()
    for given in arguments.systems:
        folder, system, label = given.split(":")
        config = json.loads((Path(folder) / "robustness.json").read_text())["config"]
        channels.add(config["channel"])
        files.add((config["audio"], config["max_duration_s"]))
        add_system(table, Path(folder), system, label)
    if len(channels) != 1 or len(files) != 1:
        parser.error(f"one channel and one set of files belong in a plot, these have {channels} and {files}")
    robustness_png(arguments.output, table=table, figures=facts, title=arguments.title, channel=channels.pop())


if __name__ == "__main__":
    main()
