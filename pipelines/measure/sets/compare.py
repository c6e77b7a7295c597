"""Figures, intervals and differences of systems, from their embedded sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..results.intervals import (
    UNBOUNDED,
    Bounds,
    bootstrap_interval,
    centred_interval,
    p_value,
    paired_bootstrap,
    resample,
)
from ..results.pairing import few, pair_names
from .config import EvaluateConfig
from .metrics import Column, FileFigures, Inputs, Metric, OfFiles
from .result import Delta, Figure
from .sets import EmbeddedSet, SideSummary

MIN_FILES = 5  # below it, resampling files tells nothing


@dataclass(kw_only=True)
class Measurement:
    """A column of one system with what intervals and differences need."""

    figure: Figure
    system: EmbeddedSet
    per_file: FileFigures = field(default_factory=list)  # where the figure is their mean
    of_set: OfFiles | None = None  # figure of a choice of files, where it is not
    subsets: bool = False  # the choice must hold no file twice
    bounds: Bounds = UNBOUNDED  # of the figure
    _done: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.figure.value is not None:  # of all files the figure itself, which `of_set` would round otherwise
            self._done[np.arange(len(self.file_names), dtype=np.int32).tobytes()] = self.figure.value

    @property
    def file_names(self) -> list[str]:
        """The files that the figure can be resampled over; none where it cannot."""
        if self.per_file:
            return [name for name, _ in self.per_file]
        return self.system.names if self.of_set is not None else []

    def of_files(self, places: Sequence[int]) -> float:
        """The figure of the files at these places; kept, since intervals and differences draw the same ones."""
        places = sorted(places)
        key = np.array(places, np.int32).tobytes()
        if key not in self._done:
            if self.of_set is not None:
                self._done[key] = self.of_set(places)
            else:
                self._done[key] = float(np.mean([self.per_file[place][1] for place in places]))
        return self._done[key]


def measure(metric: Metric, inputs: Inputs, config: EvaluateConfig) -> list[Measurement]:
    """The figures of a metric for one system, with their intervals. What cannot be measured says why."""
    reason = _missing(metric, inputs)
    if reason:
        return [_absent(column, reason, inputs) for column in metric.columns]
    try:
        measured = metric.measure(inputs)
    except ValueError as error:
        return [_absent(column, str(error), inputs) for column in metric.columns]
    found = []
    of_sets: Sequence[OfFiles | None] = [None] * len(metric.columns)
    if config.bootstrap and metric.resampler is not None and inputs.system.embeddings is not None:
        of_sets = metric.resampler(inputs)
    for column, one, of_set in zip(metric.columns, measured, of_sets, strict=True):
        figure = Figure(
            name=column.name.format(network=inputs.network.name),
            value=one.value,
            better=column.better,
            unit=column.unit,
        )
        figure.details = one.details
        side = Measurement(figure=figure, system=inputs.system, per_file=one.per_file, of_set=of_set)
        side.subsets, side.bounds = metric.subsets, column.bounds
        _add_interval(side, config)
        found.append(side)
    return found


def difference(first: Measurement, other: Measurement, config: EvaluateConfig) -> Delta | None:
    """`other` less `first`; None where one of them was not measured.

    Files are drawn in pairs where every file of both systems has one of the same name in the other, to itself.
    """
    if first.figure.value is None or other.figure.value is None:
        return None
    delta = Delta(name=other.figure.name, value=other.figure.value - first.figure.value)
    if not config.bootstrap:
        return delta
    names = first.file_names, other.file_names
    if min(map(len, names)) < MIN_FILES:
        delta.note = first.figure.note or other.figure.note  # what kept a figure from its interval
        return delta
    pairs = pair_names(*names).pairs
    try:
        if len(pairs) == len({place for _, place in pairs}) == len(names[0]) == len(names[1]):
            _paired(delta, first, other, pairs, config)
        else:
            _independent(delta, first, other, config)
    except ValueError as error:  # a choice of files was too few windows
        delta.note = f"no interval: {error}"
    return delta


def _paired(
    delta: Delta, first: Measurement, other: Measurement, pairs: list[tuple[int, int]], config: EvaluateConfig
) -> None:
    """Interval and p-value of a difference of systems whose files pair: the same are drawn of both."""
    found = paired_bootstrap(
        [(first, place) for place, _ in pairs],
        [(other, place) for _, place in pairs],
        lambda drawn: drawn[0][0].of_files([place for _, place in drawn]),
        num_resamples=config.bootstrap,
        confidence=config.confidence,
        centre=True,
        bounds=_of_difference(first.bounds),
        subsets=first.subsets,
        seed=config.seed,
    )
    delta.low, delta.high, delta.p_value, delta.paired = found.low, found.high, found.p_value, True


def _independent(delta: Delta, first: Measurement, other: Measurement, config: EvaluateConfig) -> None:
    """Interval and p-value of a difference of systems whose files do not pair: each is drawn on its own."""
    resampled = np.zeros(config.bootstrap)
    for side, sign, seed in ((first, -1.0, config.seed), (other, 1.0, config.seed + 1)):
        num = len(side.file_names)
        found = resample(side.of_files, num, config.bootstrap, subsets=side.subsets, seed=seed)
        resampled += sign * found
    delta.low, delta.high = centred_interval(delta.value, resampled, config.confidence, _of_difference(first.bounds))
    delta.p_value = p_value(resampled - resampled.mean() + delta.value)


def _of_difference(bounds: Bounds) -> Bounds:
    """What the difference of two figures can be."""
    return bounds[0] - bounds[1], bounds[1] - bounds[0]


def _missing(metric: Metric, inputs: Inputs) -> str:
    """Why a metric cannot be measured on these inputs; empty where it can."""
    sides = {"reference": inputs.reference, "system": inputs.system} if metric.reference else {"system": inputs.system}
    for side, found in sides.items():
        if not metric.statistics and found.embeddings is None:
            return f"{metric.name} needs the audio itself: statistics of the {side} are not enough"
    if metric.texts and not inputs.texts:
        return f"{metric.name} needs prompts: a manifest with a column of texts, or the .json beside each sample"
    return ""


def _absent(column: Column, reason: str, inputs: Inputs) -> Measurement:
    figure = Figure(
        name=column.name.format(network=inputs.network.name),
        value=None,
        better=column.better,
        unit=column.unit,
        note=reason,
    )
    return Measurement(figure=figure, system=inputs.system)


def _add_interval(side: Measurement, config: EvaluateConfig) -> None:
    figure, num_files = side.figure, len(side.file_names)
    if not config.bootstrap or not num_files or figure.value is None:
        return
    if num_files < MIN_FILES:
        figure.note = f"no interval: {num_files} files, at least {MIN_FILES} are needed"
        return
    try:
        found = bootstrap_interval(
            range(num_files),
            side.of_files,
            num_resamples=config.bootstrap,
            confidence=config.confidence,
            centre=True,  # about the figure: an interval tells what other files, as many, would give
            bounds=side.bounds,
            subsets=side.subsets,
            seed=config.seed,
        )
    except ValueError as error:  # a choice of files was too few windows
        figure.note = f"no interval: {error}"
        side.of_set = None
        return
    figure.low, figure.high = found.low, found.high


def side_warnings(name: str, summary: SideSummary, dim: int) -> list[str]:
    """What makes distances from or to a set unreliable, in sentences."""
    lines = []
    if summary.num_windows < 2 * dim:
        lines.append(
            f"{name}: {summary.num_windows} windows are fewer than twice the {dim} dimensions of an embedding: the "
            "distance is biased upwards, compare it only with distances on as many windows"
        )
    if summary.failures:
        lines.append(f"{name}: {len(summary.failures)} files could not be measured and are left out")
    if summary.num_silent:
        lines.append(f"{name}: {summary.num_silent} of {summary.num_files} files are silent")
    if summary.num_repeated:
        lines.append(
            f"{name}: {summary.num_repeated} of {summary.num_files} files are shorter than a window and repeat"
        )
    return lines


def unpaired_warnings(metric: str, name: str, system: EmbeddedSet, reference: EmbeddedSet) -> list[str]:
    """For a metric that pairs files by name: which files have no counterpart, or none that is clear."""
    found = pair_names(system.names, reference.names)
    reasons = (
        ("have no counterpart of their name and are left out", found.alone),
        ("cannot be paired, since several files have their name but for the suffix, and are left out", found.unclear),
    )
    return [
        f"{metric}: {len(files)} files of {side} {reason}: {few(files)}"
        for reason, sides in reasons
        for side, files in zip((name, "the reference"), sides, strict=True)
        if files
    ]


def silence_warning(names: Sequence[str]) -> str:
    """Of files of digital silence that were measured."""
    return f"{few(names)}: digital silence, whose distances are large and move the means: leave it out"
