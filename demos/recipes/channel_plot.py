"""Systems of several channel experiments, run with one channel on one set of files, in one plot.

python demos/recipes/channel_plot.py channel.png "fsq/:natural:FSQ, natural binary" "rvq/:index:RVQ"

Each system is given as FOLDER:SYSTEM:LABEL, of a folder that `latentune experiment robustness` wrote.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from latentune.pipelines.measure.channel.plots import robustness_png


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("systems", nargs="+", metavar="FOLDER:SYSTEM:LABEL")
    parser.add_argument("--title", default="")
    parser.add_argument("--metrics", nargs="+", default=["stoi", "mel_distance", "mel_to_clean"])
    arguments = parser.parse_args()
    estimates: list[dict[str, Any]] = []
    channels, files = set(), set()
    for given in arguments.systems:
        folder, system, label = given.split(":")
        found = json.loads((Path(folder) / "robustness.json").read_text())
        channels.add(found["config"]["channel"])
        files.add((found["config"]["audio"], found["config"]["max_duration_s"]))
        estimates += [row | {"system": label} for row in found["estimates"] if row["system"] == system]
    if len(channels) != 1 or len(files) != 1:
        parser.error(f"one channel and one set of files belong into a plot, these have {channels} and {files}")
    robustness_png(arguments.output, estimates, arguments.metrics, title=arguments.title, channel=channels.pop())


if __name__ == "__main__":
    main()
