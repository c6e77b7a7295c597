"""Fréchet and mel distance against the number of decoding steps (the first experiment of CoDiCodec)."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..results import Estimate, ResultsTable, comparison
from ..results.findings import Findings
from .plots import steps_png
from .setup import Setup

FIGURES = ("mel_distance", "stft_distance", "si_sdr_db", "encode_rtf", "decode_rtf")
SHOWN = ("mel_distance", "stft_distance", "si_sdr_db", "decode_rtf")
COLUMNS = (
    "stream",
    "steps",
    *(f"{name}{end}" for name in (*FIGURES, "fad") for end in ("", "_low", "_high")),
    "num_files",
)


def steps_experiment(setup: Setup) -> Findings:
    """Decodes every file in each number of steps, by each stream: means over files with intervals, and the FAD.

    Raises:
        ValueError: the codec does not decode in steps.
    """
    codec = setup.tokenizer.spec.name
    if not setup.decode_takes("steps"):
        raise ValueError(f"{codec} does not decode in steps: this experiment is for codecs whose decode has `steps`")
    steps = tuple(dict.fromkeys(setup.config.steps))
    table = setup.measure({str(n): {"steps": n} for n in steps}, figures=FIGURES, embedder=setup.embedder)
    for stream in setup.streams:
        for number in steps:
            table.systems[f"{stream}, {number}"] |= {"stream": stream, "steps": number}
    rows = _rows(table)
    distance = table.facts["frechet"]["metric"] if "frechet" in table.facts else None
    grid = comparison(
        table,
        figures=[*SHOWN, *([distance] if distance else [])],
        leading={key: [facts[key] for facts in table.systems.values()] for key in ("stream", "steps")},
        transpose=False,
        caption=f"means and {setup.config.confidence:.0%} intervals",
    )
    return Findings(
        name="steps",
        title=setup.page_title("steps"),
        table=table,
        columns=COLUMNS,
        rows=rows,
        grids=[grid],
        draw=partial(steps_png, rows=rows, title=setup.plot_title(table), metric=distance),
    )


def _rows(table: ResultsTable) -> list[dict[str, Any]]:
    """One row per system; the Fréchet distance is called `fad`, whatever its embedder."""
    distance = table.facts["frechet"]["metric"] if "frechet" in table.facts else None
    rows = []
    for system, facts in table.systems.items():
        row: dict[str, Any] = {**facts, "num_files": len(table.select(system, FIGURES[0]))}
        for column, figure in (*((name, name) for name in FIGURES), ("fad", distance)):
            found = Estimate(value=None) if figure is None else table.estimate(system, figure)
            row |= {column: found.value, f"{column}_low": found.low, f"{column}_high": found.high}
        rows.append(row)
    return rows
