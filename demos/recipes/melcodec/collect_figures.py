"""Collects the figures of several `latentune experiment reconstruction` runs for a model card.

    python demos/recipes/melcodec/collect_figures.py WEIGHTS/figures.json speech=figures/speech english=figures/english

Writes means with 95 % intervals per set of recordings, system and figure, and prints each set as a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from latentune.core.files import write_json

RESULT = "reconstruction.json"


def read_set(folder: Path) -> dict[str, Any]:
    """The figures of one run: system -> figure -> value and interval.

    Raises:
        FileNotFoundError: the folder holds no result.
    """
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    systems = {
        system["name"]: {
            figure["name"]: {key: figure[key] for key in ("value", "low", "high", "num_values")}
            for figure in system["figures"]
        }
        for system in result["systems"]
    }
    return {"num_files": result["num_files"], "models": result["models"], "systems": systems}


def table(systems: dict[str, dict[str, Any]], figures: list[str]) -> str:
    """Markdown with a row per system; a dash where there is no value."""

    def cell(found: dict[str, Any] | None) -> str:
        if found is None or found["value"] is None:
            return "-"
        text = f"{found['value']:.3g}"
        return text if found["low"] is None else f"{text} ({found['low']:.3g} to {found['high']:.3g})"

    lines = [f"| system | {' | '.join(figures)} |", "|---" * (len(figures) + 1) + "|"]
    for name, found in systems.items():
        lines.append(f"| {name} | {' | '.join(cell(found.get(figure)) for figure in figures)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    arguments = parser.parse_args()
    sets = {}
    for text in arguments.sets:
        name, separator, folder = text.partition("=")
        if not separator:
            parser.error(f"{text!r} is not of the form NAME=FOLDER")
        sets[name] = read_set(Path(folder))
    write_json(arguments.output, sets)
    for name, found in sets.items():
        figures = list(dict.fromkeys(figure for system in found["systems"].values() for figure in system))
        sys.stdout.write(f"\n{name}, {found['num_files']} files\n\n{table(found['systems'], figures)}\n")


if __name__ == "__main__":
    main()
