"""FAD and mel distance against the number of decoding steps (CoDiCodec's first experiment)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from .evaluate import evaluate_tokenizer
from .figures.catalog import figure_heading
from .plots import steps_png
from .result import ExperimentResult, Row, Table, row_cell
from .setup import Setup

FIGURES = ("mel_distance", "stft_distance", "si_sdr_db", "encode_rtf", "decode_rtf")
SHOWN = ("mel_distance", "stft_distance", "si_sdr_db", "decode_rtf")
COLUMNS = (
    "stream",
    "steps",
    *(f"{name}{end}" for name in (*FIGURES, "fad") for end in ("", "_low", "_high")),
    "num_files",
)


def steps_experiment(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ExperimentResult:
    """Decode every file in each number of steps, by each stream; means over files with intervals, and the FAD.

    Raises:
        ValueError: the codec does not decode in steps.
    """
    config, codec = setup.config, setup.tokenizer.spec.name
    if not setup.decode_takes("steps"):
        raise ValueError(f"{codec} does not decode in steps: this experiment is for codecs whose decode has `steps`")
    steps = tuple(dict.fromkeys(config.steps))
    result = evaluate_tokenizer(
        setup.tokenizer,
        setup.items,
        streams=setup.streams,
        options={str(number): {**config.options, "steps": number} for number in steps},
        figures=FIGURES,
        embedder=setup.embedder,
        seed=config.seed,
        max_duration_s=config.max_duration_s,
        progress=progress,
    )
    summary = {row["system"]: row for row in result.summary(confidence=config.confidence, seed=config.seed)}
    distances = {} if result.frechet is None else result.frechet["values"]
    ends = result.frechet_intervals(confidence=config.confidence, seed=config.seed)
    rows: list[Row] = []
    for stream in setup.streams:
        for number in steps:
            name = f"{stream}, {number}"
            row: Row = {"stream": stream, "steps": number}
            for figure in FIGURES:
                found = summary[name][figure]
                row |= {figure: found["mean"], f"{figure}_low": found["low"], f"{figure}_high": found["high"]}
            low, high = ends.get(name, (None, None))
            row |= {"fad": distances.get(name), "fad_low": low, "fad_high": high}
            rows.append({**row, "num_files": summary[name]["num_files"]})
    metric = None if result.frechet is None else result.frechet["metric"]
    table = Table(
        caption=f"means and {config.confidence:.0%} intervals",
        columns=("stream", "steps", *map(figure_heading, SHOWN), *([f"{metric} ↓"] if metric else [])),
        rows=[
            [
                row["stream"],
                row["steps"],
                *(row_cell(row, name) for name in SHOWN),
                *([row_cell(row, "fad")] if metric else []),
            ]
            for row in rows
        ],
    )
    return ExperimentResult(
        name="steps",
        columns=COLUMNS,
        rows=rows,
        tables=[table],
        facts=setup.facts(result),
        warnings=setup.warnings(result),
        draw=partial(steps_png, rows=rows, title=setup.title(result), metric=metric),
    )
