"""The cost of quantization: the continuous stream against the discrete one (the second experiment of CoDiCodec)."""

from __future__ import annotations

from functools import partial
from typing import Any

from ....core.errors import ConfigError
from ..results import Grid, ResultsTable, heading, interval_text
from ..results.findings import Findings
from .figures.catalog import PAIR_FIGURES
from .plots import figure_title, gap_png
from .setup import Setup

STREAMS = ("latents", "tokens")
COLUMNS = (
    *("figure", "better", "unit", "num_files"),
    *(f"{stream}{end}" for stream in STREAMS for end in ("", "_low", "_high")),
    *("difference", "difference_low", "difference_high", "p_value"),
)


def gap_experiment(setup: Setup) -> Findings:
    """Measures each figure by latents and by tokens, and their difference with a paired bootstrap over files.

    Raises:
        ValueError: the codec has no tokens, or the config asks for one stream alone.
        ConfigError: no figure that compares sounds.
    """
    config, codec = setup.config, setup.tokenizer.spec.name
    if set(setup.streams) != set(STREAMS):
        raise ValueError(
            f"the gap lies between latents and tokens: {codec} was asked for {', '.join(setup.streams)} alone"
        )
    figures = [name for name in config.figures if name in PAIR_FIGURES]
    if not figures:
        raise ConfigError(f"none of {', '.join(config.figures)} has a gap: take some of {', '.join(PAIR_FIGURES)}")
    table = setup.measure(figures=figures, embedder=setup.embedder)
    rows = [_row(table, name) for name in table.figures]
    cells = [
        [
            heading(name, table.figures[name]),
            *(interval_text(table.estimate(stream, name)) for stream in STREAMS),
            None if (found := table.difference(*STREAMS, name, common=True)) is None else interval_text(found),
            row["p_value"],
        ]
        for name, row in zip(table.figures, rows, strict=True)
    ]
    caption = f"means, their difference (tokens minus latents) and {config.confidence:.0%} intervals"
    drawn = [row for row in rows if row["latents"] is not None and row["tokens"] is not None]
    return Findings(
        name="gap",
        title=setup.page_title("gap"),
        table=table,
        columns=COLUMNS,
        rows=rows,
        grids=[Grid(caption=caption, columns=("figure", *STREAMS, "difference", "p"), rows=cells)],
        draw=partial(gap_png, rows=drawn, title=setup.plot_title(table)) if drawn else None,
    )


def _row(table: ResultsTable, figure: str) -> dict[str, Any]:
    """One figure: both streams, their paired difference on the files for which both have a value."""
    facts = table.figures[figure]
    row: dict[str, Any] = {"figure": figure, "title": figure_title(figure, facts)}
    row |= {"better": facts.better, "unit": facts.unit}
    for stream in STREAMS:
        found = table.estimate(stream, figure)
        row |= {stream: found.value, f"{stream}_low": found.low, f"{stream}_high": found.high}
    delta = table.difference(*STREAMS, figure, common=True)
    names = ("difference", "difference_low", "difference_high", "p_value")
    ends = (None,) * 4 if delta is None else (delta.value, delta.low, delta.high, delta.p_value)
    return {**row, **dict(zip(names, ends, strict=True)), "num_files": 0 if delta is None else delta.num_files}
