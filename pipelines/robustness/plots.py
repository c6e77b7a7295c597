"""Pictures of channel experiments and of the locality probe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from torch import Tensor

from ..report.plots import new_figure, save_png

if TYPE_CHECKING:
    from .probe import LocalityResult

PANEL_INCHES = (4.4, 3.2)
PANELS_A_ROW = 3
CONFUSION_INCHES = 2.3
CONFUSIONS_A_ROW = 8
TITLES = {
    "stoi": "STOI",
    "pesq": "PESQ (wide band)",
    "si_sdr_db": "SI-SDR (dB)",
    "mel_distance": "mel distance",
    "si_sdr_to_clean_db": "SI-SDR to undamaged (dB)",
    "mel_to_clean": "mel distance to undamaged",
}


def robustness_png(
    target: str | Path | BinaryIO, estimates: Sequence[dict[str, Any]], metrics: Sequence[str], title: str
) -> None:
    """Draw each metric over p on a logarithmic axis, a line a system with its 95 % band; without a channel dashed.

    Args:
        estimates: of `RobustnessResult.estimates`.

    Raises:
        ValueError: nothing to draw.
    """
    if not estimates or not metrics:
        raise ValueError("no figure to draw")
    columns = min(PANELS_A_ROW, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = new_figure(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    names = list(dict.fromkeys(row["system"] for row in estimates))
    for axes, metric in zip(panels, metrics, strict=False):
        for number, name in enumerate(names):
            found = [row for row in estimates if row["system"] == name and row[metric]["mean"] is not None]
            _draw(axes, name, f"C{number}", sorted(found, key=lambda row: row["p"]), metric)
        axes.set(xscale="log", xlabel="p", ylabel=TITLES.get(metric, metric))
        axes.grid(alpha=0.3)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), fontsize="small")
    figure.suptitle(title)
    save_png(figure, target)


def _draw(axes: Any, name: str, colour: str, rows: Sequence[dict[str, Any]], metric: str) -> None:
    """One system: a line over its p above 0, which a logarithmic axis has room for; its value at 0 as a level."""
    for row in rows:
        if row["p"] == 0:
            axes.axhline(row[metric]["mean"], color=colour, linestyle="--", linewidth=1, label=name)
    rows = [row for row in rows if row["p"] > 0]
    if not rows:
        return
    p = [row["p"] for row in rows]
    axes.plot(p, [row[metric]["mean"] for row in rows], color=colour, marker="o", markersize=3, label=name)
    low, high = ([row[metric][side] for row in rows] for side in ("low", "high"))
    axes.fill_between(p, low, high, color=colour, alpha=0.15, linewidth=0)


def locality_png(target: str | Path | BinaryIO, result: LocalityResult) -> None:
    """Draw the confusion matrix of every dimension, each row (level of the first encoder) scaled to a share of 1."""
    count = len(result.confusions)
    columns = min(CONFUSIONS_A_ROW, count)
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
    figure.suptitle(
        f"tokens equal {result.exact_tokens:.1%}, levels equal {result.exact_levels:.1%}, "
        f"within one {result.within_one:.1%} (independent and uniform: {result.uniform_within_one:.1%})"
    )
    save_png(figure, target)


def _shares(confusion: Tensor) -> Tensor:
    return confusion.double() / confusion.sum(1, keepdim=True).clamp_min(1)
