"""Metrics of one system's set into the table of results, and what makes them unreliable."""

from __future__ import annotations

from ..embedders import Embedder
from ..results import ResultsTable, SetFigure, few, pair_names
from .measures import Inputs
from .metrics import Metric
from .sets import EmbeddedSet, SideSummary


def add_metric(table: ResultsTable, system: str, metric: Metric, inputs: Inputs) -> None:
    """Adds the figures of a metric; a figure that cannot be measured says why.

    Args:
        table: of the results, whose resampling says whether intervals are wanted.
        system: the name of the system in the table.
        metric: which is measured.
        inputs: the sets of the reference and of the system.
    """
    figures = {f"{name}_{inputs.network.name}": facts for name, facts in metric.figures.items()}
    table.figures.update(figures)
    reason = _missing(metric, inputs)
    try:
        measured = [] if reason else metric.measure(inputs)
    except ValueError as error:
        reason = str(error)
    if reason:
        for figure in figures:
            table.add_set(system, figure, SetFigure(value=None, note=reason))
        return
    for figure, found in zip(figures, measured, strict=True):
        if isinstance(found, SetFigure):
            found.names = inputs.system.names
            table.add_set(system, figure, found)
            continue
        table.add_details(system, figure, found.details)
        for file, value in found.values:
            table.add(system, file, figure, value)


def _missing(metric: Metric, inputs: Inputs) -> str:
    """Why a metric cannot be measured on these inputs; empty where it can."""
    sides = {"reference": inputs.reference, "system": inputs.system} if metric.reference else {"system": inputs.system}
    for side, found in sides.items():
        if not metric.statistics and found.embeddings is None:
            return f"{metric.name} needs the audio itself: statistics of the {side} are not enough"
    if metric.texts and not inputs.texts:
        return f"{metric.name} needs prompts: a manifest with a column of texts, or a .json file next to each sample"
    return ""


def side_warnings(name: str, summary: SideSummary, embedder: Embedder | None) -> list[str]:
    """Warns of what makes distances from or to a set unreliable.

    Args:
        name: of the set.
        summary: of the set.
        embedder: made its embeddings; None where no figure depends on the number of windows.

    Returns:
        The warnings, in sentences.
    """
    lines = []
    if embedder is not None and summary.num_windows < embedder.enough_windows:
        lines.append(
            f"{name}: {summary.num_windows} windows are too few, {embedder.enough_windows} are enough for the "
            f"{embedder.dim} dimensions of an embedding: the distance is biased upwards, compare it only with "
            "distances on as many windows"
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
    """Warns of files that a metric cannot pair by name: they have no counterpart, or none that is clear.

    Args:
        metric: the metric.
        name: name of the system.
        system: the set of the system.
        reference: the reference set.

    Returns:
        The warnings, in sentences.
    """
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
