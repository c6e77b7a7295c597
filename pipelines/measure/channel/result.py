"""What a channel experiment found: rows a file, their means, and how they are written and shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....core.figures import can_draw
from ....core.files import write_json, write_text
from ..results import csv_text
from .plots import TITLES, robustness_png
from .statistics import bootstrap
from .systems import CHANNEL_FIGURES, CLEAN

if TYPE_CHECKING:
    from rich.console import Group

SIGNAL_METRICS = ("si_sdr_db", "mel_distance")
# the same two, of what came through a channel to what its system decodes without one: the channel's part of the damage
CHANNEL_METRICS = ("si_sdr_to_clean_db", "mel_to_clean")
CHANGE = "_change"  # behind the name of another metric: how far the channel moved it, file by file
KEYS = ("system", "p", "seed", "file", "seconds")


@dataclass(kw_only=True)
class RobustnessResult:
    """Every measurement, and all that one must know to read it."""

    config: dict[str, Any]
    tokenizer: dict[str, Any]  # name, rates
    systems: list[dict[str, Any]]  # name, labelling, receiver, bitrate_bps, predicted (closed form, by p)
    metrics: tuple[str, ...]  # measured, the speech metrics first
    rows: list[dict[str, Any]] = field(default_factory=list)  # KEYS and figures; None: has no value
    absent_metrics: dict[str, str] = field(default_factory=dict)  # metric -> why it could not be measured at all
    undefined: list[dict[str, str]] = field(default_factory=list)  # file, metric, reason: has no value there
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: files that could not be read
    warnings: list[str] = field(default_factory=list)

    @property
    def figures(self) -> tuple[str, ...]:
        """All columns of a row but its keys."""
        changes = (name + CHANGE for name in self.metrics if name not in CHANNEL_METRICS)
        return (*CHANNEL_FIGURES, *self.metrics, *changes)

    @property
    def num_files(self) -> int:
        return len({row["file"] for row in self.rows})

    @cached_property
    def estimates(self) -> list[dict[str, Any]]:
        """One row a system and p: means over files and seeds of all figures, with 95 % intervals; computed once."""
        groups: dict[tuple[str, float], dict[str, list[dict[str, Any]]]] = {}
        for row in self.rows:
            groups.setdefault((row["system"], row["p"]), {}).setdefault(row["file"], []).append(row)
        seed, found = int(self.config["seed"]), []
        for (system, p), files in groups.items():
            figures = {}
            for name in self.figures:
                values = [[row[name] for row in rows] for rows in files.values()]
                figures[name] = asdict(bootstrap(values, seed=seed))
            found.append({"system": system, "p": p, "num_files": len(files), **figures})
        return found

    def to_dict(self) -> dict[str, Any]:
        return {
            "tokenizer": self.tokenizer,
            "systems": self.systems,
            "metrics": list(self.metrics),
            "absent_metrics": self.absent_metrics,
            "num_files": self.num_files,
            "num_failed": len(self.failures),
            "estimates": self.estimates,
            "undefined": self.undefined,
            "failures": self.failures,
            "warnings": self.warnings,
            "config": self.config,
        }

    def csv_text(self) -> str:
        """All rows, six significant digits; an empty field has no value."""
        return csv_text([*KEYS, *self.figures], self.rows)

    def estimates_csv_text(self) -> str:
        """Means with their 95 % intervals, a row a system and p; an empty field has no value."""
        places = {f"{name}_{side}": (name, side) for name in self.figures for side in ("mean", "low", "high")}
        rows = [row | {column: row[name][side] for column, (name, side) in places.items()} for row in self.estimates]
        return csv_text(["system", "p", "num_files", *places], rows)

    def write(self, folder: str | Path) -> None:
        """Writes the tables, and where matplotlib is installed the plot, to a folder that exists.

        The files are robustness.csv, estimates.csv, robustness.json and robustness.png.
        """
        folder = Path(folder)
        write_text(folder / "robustness.csv", self.csv_text())
        write_text(folder / "estimates.csv", self.estimates_csv_text())
        write_json(folder / "robustness.json", self.to_dict())
        channel, seeds = self.config["channel"], self.config["seeds"]
        codec = f"{self.tokenizer['name']} ({Path(self.tokenizer['source']).name})"
        title = f"{codec}: {self.num_files} files, {seeds} seeds, 95 % intervals over both"
        if can_draw("plots"):
            robustness_png(folder / "robustness.png", self.estimates, self.metrics, title=title, channel=channel)


def render(result: RobustnessResult) -> Group:
    """The estimates as tables for a rich console: one a metric, what is undamaged in its title. No text is markup."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    estimates = result.estimates
    columns = sorted({row["p"] for row in estimates if not row["system"].startswith(CLEAN)})
    by_place = {(row["system"], row["p"]): row for row in estimates}
    names = list(dict.fromkeys(row["system"] for row in estimates))
    clean = [name for name in names if name.startswith(CLEAN)]
    parts: list[Any] = []
    for metric in (*result.metrics, "token_intact"):
        title = TITLES.get(metric, "tokens intact")
        if metric in result.metrics and metric not in CHANNEL_METRICS:
            title += "; " + "; ".join(f"{name} {_cell(by_place[name, 0.0], metric)}" for name in clean)
        heads = [f"p = {p:g}" for p in columns]
        table = Table("system", *heads, box=None, padding=(0, 1, 0, 0))
        for name in names:
            if name not in clean:
                table.add_row(Text(name), *(Text(_cell(by_place.get((name, p)), metric)) for p in columns))
        parts += [Text(title, style="italic"), table]
    lines = [f"{name}: not measured, {reason}" for name, reason in result.absent_metrics.items()]
    lines += [f"left out: {failure['path']}: {failure['reason']}" for failure in result.failures]
    parts += [Text(line, style="yellow") for line in (*lines, *result.warnings)]
    count = f"{result.num_files} files, {result.config['seeds']} seeds, {len(result.failures)} left out"
    return Group(*parts, Text(f"{count}; +- is half of a 95 % interval"))


def _cell(row: dict[str, Any] | None, metric: str) -> str:
    if row is None or row[metric]["mean"] is None:
        return "-"
    figure = row[metric]
    digits = 3 if abs(figure["mean"]) < 10 else 1
    return f"{figure['mean']:.{digits}f} ±{(figure['high'] - figure['low']) / 2:.{digits}f}"


def order_rows(rows: Sequence[dict[str, Any]], systems: Sequence[str]) -> list[dict[str, Any]]:
    """Rows by system, p, seed and file, whatever the order in which they were measured."""
    place = {name: number for number, name in enumerate(systems)}
    return sorted(rows, key=lambda row: (place[row["system"]], row["p"], row["seed"], row["file"]))
