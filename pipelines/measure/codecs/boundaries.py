"""Artifacts at the borders of chunks (the third experiment of CoDiCodec): errors near borders against elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor

from ...data.audio.find import AudioItem
from ..results.intervals import bootstrap_interval, mean
from .evaluate import evaluate_tokenizer
from .figures.borders import NUM_BINS, border_errors
from .figures.common import Undefined
from .plots import boundaries_png
from .result import ExperimentResult, Row, Table, row_cell
from .setup import Setup

FIGURES = ("near_error", "far_error", "excess", "step_ratio", "original_step_ratio")
COLUMNS = ("system", "num_files", "num_borders", *(f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")))


class _BorderMetric:
    """Border errors as a `FileMetric`, with the profiles gathered by the way."""

    models = dict.fromkeys(FIGURES, "log mel error of short frames")

    def __init__(self, chunk_samples: int, lead_samples: int, window_samples: int):
        self.measure_borders = partial(
            border_errors, chunk_samples=chunk_samples, lead_samples=lead_samples, window_samples=window_samples
        )

    def measure(self, item: AudioItem, reference: Tensor, estimate: Tensor, sample_rate: int) -> dict[str, Any]:
        try:
            found = self.measure_borders(reference, estimate, sample_rate)
        except Undefined as error:
            return dict.fromkeys(FIGURES, error)
        return {**{name: getattr(found, name) for name in FIGURES}, "borders": found}


def boundaries_experiment(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ExperimentResult:
    """Errors near borders and elsewhere, by each stream and, where the codec has several, each decoding mode.

    Raises:
        ValueError: chunks too short for the window.
        AudioError: no file that could be read holds a border.
    """
    config, spec = setup.config, setup.tokenizer.spec
    window = 2 * max(8, round(config.window_s * spec.sample_rate / 2))
    metric = _BorderMetric(spec.chunk_samples, int(getattr(setup.tokenizer, "lead_samples", 0)), window)
    if spec.chunk_samples <= window:
        raise ValueError(
            f"chunks of {spec.name} are {spec.chunk_samples} samples, the window of {config.window_s} s is {window}: "
            "nothing lies between two borders; take a shorter window_s"
        )
    modes = ("parallel", "autoregressive") if setup.decode_takes("mode") and "mode" not in config.options else (None,)
    result = evaluate_tokenizer(
        setup.tokenizer,
        setup.items,
        streams=setup.streams,
        options={mode or "": {**config.options, **({"mode": mode} if mode else {})} for mode in modes},
        figures=("mel_distance",),
        metrics=[metric],
        seed=config.seed,
        max_duration_s=config.max_duration_s,
        progress=progress,
    )
    rows, profiles = [], {}
    for name in result.systems:
        found = [row["borders"] for row in result.rows if row["system"] == name and "borders" in row]
        if not found:
            raise Undefined(f"not one file is longer than a chunk of {spec.chunk_samples / spec.sample_rate:.2f} s")
        row: Row = {"system": name, "num_files": len(found), "num_borders": sum(one.num_borders for one in found)}
        for figure in FIGURES:
            row |= _with_interval(figure, [getattr(one, figure) for one in found], config.confidence, config.seed)
        rows.append(row)
        sums, counts = (sum(getattr(one, part) for one in found) for part in ("profile_sums", "profile_counts"))
        profiles[name] = [float(s / c) if c else None for s, c in zip(sums, counts, strict=True)]
    width_s = spec.chunk_samples / spec.sample_rate
    place_s = [((number + 0.5) / NUM_BINS - 0.5) * width_s for number in range(NUM_BINS)]
    facts = setup.facts(result) | {"models": {}, "window_samples": window, "place_s": place_s, "profiles": profiles}
    return ExperimentResult(
        name="boundaries",
        columns=COLUMNS,
        rows=rows,
        tables=[
            Table(
                caption=f"means and {config.confidence:.0%} intervals",
                columns=("system", "borders", *FIGURES),
                rows=[[row["system"], row["num_borders"], *(row_cell(row, name) for name in FIGURES)] for row in rows],
            )
        ],
        facts=facts,
        warnings=setup.warnings(result),
        draw=partial(boundaries_png, place_s=place_s, profiles=profiles, title=setup.title(result, intervals=False)),
    )


def _with_interval(figure: str, values: list[float], confidence: float, seed: int) -> Row:
    if len(values) < 2:
        return {figure: mean(values), f"{figure}_low": None, f"{figure}_high": None}
    found = bootstrap_interval(values, confidence=confidence, seed=seed)
    return {figure: found.value, f"{figure}_low": found.low, f"{figure}_high": found.high}
