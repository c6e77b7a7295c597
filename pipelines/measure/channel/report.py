"""How a channel experiment is shown: names of systems, tables by figure, the CSV files and the plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from ..codecs.lengths import SECONDS
from ..codecs.plots import figure_title
from ..results import FigureFacts, Grid, ResultsTable, csv_text, records, silence_warning
from ..results.findings import Findings
from .config import LEAST_SEEDS, RobustnessConfig
from .figures import DAMAGE_FIGURES
from .plots import robustness_png
from .systems import CLEAN, System
from .theory import channel_figures

SCHEMA = "latentune-robustness-2"
KEYS = ("system", "p", "seed", "file", SECONDS)
TOKENS_INTACT = "token_intact"  # shown as well as the figures of audio


def clean_name(stream: str) -> str:
    """Returns the name of a token stream without a channel."""
    return f"{CLEAN}, {stream}"


def damaged_name(system: str, p: float) -> str:
    """Returns the name of a system at one p, as the table has it."""
    return f"{system}, p = {p:g}"


def describe_system(system: System, p: float, channel: str) -> dict[str, Any]:
    """Returns the facts of a system at one p, and of digits on a binary symmetric channel what theory predicts.

    Args:
        system: one way to send and to receive.
        p: of the channel.
        channel: its name.
    """
    facts: dict[str, Any] = {
        "system": system.name,
        "p": p,
        "stream": system.stream.name,
        "labelling": system.labelling.code,
        "receiver": system.receiver,
        "bitrate_bps": system.bitrate_bps,
        "bits_per_frame": system.labelling.bits_per_frame,
        "levels": system.stream.levels,
    }
    if channel == "bsc" and system.stream.ordered and system.labelling.code != "index":
        facts["predicted_if_uniform"] = asdict(channel_figures(system.stream.levels, system.labelling.code, p))
    return facts


def experiment_warnings(table: ResultsTable, config: RobustnessConfig, silent: Sequence[str]) -> list[str]:
    """Returns what makes the figures unreliable, in sentences.

    Args:
        table: filled.
        config: of the experiment.
        silent: files of digital silence.
    """
    lines = [f"{name}: not measured, {reason}" for name, reason in table.facts["absent_metrics"].items()]
    lines += [f"left out: {failure['path']}: {failure['reason']}" for failure in table.failures]
    if config.seeds < LEAST_SEEDS:
        lines.append(f"{config.seeds} seeds say little about the channel's spread: use {LEAST_SEEDS} or more")
    if len(table.files) < 2:
        lines.append("one file alone: there is no interval over files")
    if table.failures:
        lines.append(f"{len(table.failures)} files could not be read and are left out")
    if silent:
        lines.append(silence_warning(silent))
    if undefined := {(one["file"], one["figure"]) for one in table.undefined}:
        lines.append(f"{len(undefined)} times a figure has no value for a file: see undefined in the summary")
    return lines


def robustness_findings(table: ResultsTable, shown: Mapping[str, FigureFacts]) -> Findings:
    """Returns the findings of a filled table.

    Args:
        table: of `run_robustness`.
        shown: the figures of audio, of which each has a table and a panel of the plot.
    """
    config, tokenizer = table.facts["config"], table.facts["tokenizer"]
    codec = f"{tokenizer['name']} ({Path(tokenizer['source']).name})"
    title = f"{codec}: {len(table.files)} files, {config['seeds']} seeds, 95 % intervals over both"
    ends = [f"{name}{end}" for name in table.figures for end in ("_mean", "_low", "_high")]
    means = [_mean_row(table, system) for system in table.systems]
    return Findings(
        name="robustness",
        title=f"robustness: {config['tokenizer']} on {config['audio']}",
        table=table,
        columns=(*KEYS, *table.figures),
        rows=_file_rows(table),
        rows_in_json=False,
        grids=[_grid(table, name, figure_title(name, facts)) for name, facts in shown.items()]
        + [_grid(table, TOKENS_INTACT, "tokens intact")],
        draw=partial(robustness_png, table=table, figures=shown, title=title, channel=config["channel"]),
        extra_csv={"estimates.csv": csv_text(["system", "p", "num_files", *ends], means)},
    )


def _file_rows(table: ResultsTable) -> list[dict[str, Any]]:
    """One row per system, p, seed and file, in that order, whatever the order in which they were measured."""
    rows, seeds = [], dict[tuple[str, str], int]()
    place = {name: number for number, name in enumerate(table.systems)}
    for record in records(table):
        key = record["system"], record["file"]
        seeds[key] = seeds.get(key, -1) + 1
        rows.append({**record, "key": key[0], "seed": seeds[key]})
    rows.sort(key=lambda row: (place[row["key"]], row["seed"], row["file"]))
    return [{**row, **{name: table.systems[row["key"]][name] for name in ("system", "p")}} for row in rows]


def _mean_row(table: ResultsTable, key: str) -> dict[str, Any]:
    """Means over files and seeds with their intervals, of one system and p."""
    row: dict[str, Any] = {name: table.systems[key][name] for name in ("system", "p")}
    row["num_files"] = len({one.file for one in table.select(key, SECONDS)})
    for name in table.figures:
        found = table.estimate(key, name)
        row |= {f"{name}_mean": found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return row


def _grid(table: ResultsTable, figure: str, title: str) -> Grid:
    """One figure: a row per system, a column per p; the undamaged streams are in the caption."""
    clean = {name: key for key, facts in table.systems.items() if (name := facts["system"]).startswith(CLEAN)}
    damaged = {(facts["system"], facts["p"]): key for key, facts in table.systems.items() if key not in clean.values()}
    columns = sorted({p for _, p in damaged})
    if figure not in DAMAGE_FIGURES and figure != TOKENS_INTACT:
        title += "".join(f"; {name} {_cell(table, key, figure)}" for name, key in clean.items())
    rows = [
        [name, *(_cell(table, damaged[name, p], figure) for p in columns)]
        for name in dict.fromkeys(name for name, _ in damaged)
    ]
    heads = ("system", *(f"p = {p:g}" for p in columns))
    return Grid(caption=f"{title} (± half of a 95 % interval)", columns=heads, rows=rows)


def _cell(table: ResultsTable, key: str, figure: str) -> str:
    found = table.estimate(key, figure)
    if found.value is None:
        return "-"
    digits = 3 if abs(found.value) < 10 else 1
    text = f"{found.value:.{digits}f}"
    if found.low is None or found.high is None:
        return text
    return f"{text} ±{(found.high - found.low) / 2:.{digits}f}"
