"""Plots of channel experiments and of the locality probe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from torch import Tensor

from ....core.figures import new_figure, save_png
from ..codecs.plots import figure_title
from ..results import Estimate, FigureFacts, ResultsTable
from .systems import CLEAN

if TYPE_CHECKING:
    from .probe import LocalityResult

PANEL_INCHES = (4.4, 3.2)
PANELS_PER_ROW = 3
CONFUSION_INCHES = 2.3
CONFUSIONS_PER_ROW = 4
DODGE = 1.03  # factor of p between systems, so that their intervals do not hide each other
X_LABELS = {
    "bsc": "probability that a bit flips",
    "erasure": "probability that a bit is erased",
    "gilbert-elliott": "share of bits flipped, in bursts",
    "awgn": "share of bits flipped, by white noise",
    "levels": "probability that a digit moves",
    "packet": "probability that a packet is lost",
}


def robustness_png(
    target: str | Path | BinaryIO,
    *,
    table: ResultsTable,
    figures: Mapping[str, FigureFacts],
    title: str,
    channel: str,
) -> None:
    """Draws each figure over p on a logarithmic axis, one line per system with its 95 % intervals; undamaged dashed.

    Args:
        target: a path, or a binary file.
        table: whose systems have the facts `system` and `p`, as that of `run_robustness`.
        figures: drawn, by name.
        title: of the plot.
        channel: of `channel.CHANNELS`, for the name of the axis.

    Raises:
        ValueError: nothing to draw.
    """
    if not table.systems or not figures:
        raise ValueError("no figure to draw")
    columns = min(PANELS_PER_ROW, len(figures))
    rows = math.ceil(len(figures) / columns)
    figure = new_figure(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    clean, damaged = _curves(table)
    for axes, (name, facts) in zip(panels, figures.items(), strict=False):
        for (label, key), style in zip(clean.items(), ("--", ":"), strict=False):
            if (found := table.estimate(key, name)).value is not None:
                axes.axhline(found.value, color="0.3", linestyle=style, linewidth=1, label=label)
        for number, (label, keys) in enumerate(damaged.items()):
            _draw(axes, label, {p: table.estimate(key, name) for p, key in keys.items()}, number)
        axes.set(xscale="log", xlabel=X_LABELS[channel], ylabel=figure_title(name, facts))
        axes.grid(alpha=0.3)
    for axes in panels[len(figures) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), fontsize="small")
    figure.suptitle(title)
    save_png(figure, target)


def _curves(table: ResultsTable) -> tuple[dict[str, str], dict[str, dict[float, str]]]:
    """Names in the table: of the undamaged streams, and of each system by rising p."""
    clean: dict[str, str] = {}
    damaged: dict[str, dict[float, str]] = {}
    for key, facts in sorted(table.systems.items(), key=lambda pair: pair[1]["p"]):
        if facts["system"].startswith(CLEAN):
            clean[facts["system"]] = key
        else:
            keys = damaged.setdefault(facts["system"], {})
            if facts["p"] > 0:  # for which a logarithmic axis has no place
                keys[facts["p"]] = key
    return clean, damaged


def _draw(axes: Any, name: str, found: Mapping[float, Estimate], number: int) -> None:
    """One system's means and intervals over p."""
    points = {p: (one.value, one.low, one.high) for p, one in found.items() if one.value is not None}
    means = [mean for mean, _, _ in points.values()]
    # an interval of one value lies next to it by a rounding error
    below = [0.0 if low is None else max(0.0, mean - low) for mean, low, _ in points.values()]
    above = [0.0 if high is None else max(0.0, high - mean) for mean, _, high in points.values()]
    places = [p * DODGE**number for p in points]
    axes.errorbar(places, means, (below, above), color=f"C{number}", marker="o", markersize=3, capsize=2, label=name)


def locality_png(target: str | Path | BinaryIO, result: LocalityResult) -> None:
    """Draws the confusion matrix of every dimension, each row (level of the first encoder) scaled to a share of 1."""
    count = len(result.confusions)
    columns = min(CONFUSIONS_PER_ROW, count)
    rows = math.ceil(count / columns)
    figure = new_figure(CONFUSION_INCHES * columns + 0.8, CONFUSION_INCHES * rows + 0.9)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    image: Any = None
    for axes, confusion, (codebook, digit) in zip(grid, result.confusions, result.dimensions, strict=False):
        image = axes.imshow(_shares(confusion).numpy(), vmin=0, vmax=1, cmap="viridis", origin="lower")
        name = (
            f"digit {digit}" if codebook == 0 and result.num_codebooks == 1 else f"codebook {codebook}, digit {digit}"
        )
        axes.set(title=name, xlabel="second encoder", ylabel="first encoder")
        axes.title.set_fontsize("small")
    for axes in grid[count:]:
        axes.set_axis_off()
    figure.colorbar(image, ax=list(grid), label="share of the row", pad=0.01)
    figure.suptitle(result.summary().replace(" (", "\n("), fontsize="medium")
    save_png(figure, target)


def _shares(confusion: Tensor) -> Tensor:
    return confusion.double() / confusion.sum(1, keepdim=True)  # NaN, which stays white, for a level that never occurs
