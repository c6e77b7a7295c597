"""Pictures of channel experiments and of the locality probe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from torch import Tensor

from ....core.figures import new_figure, save_png
from .systems import CLEAN

if TYPE_CHECKING:
    from .probe import LocalityResult

PANEL_INCHES = (4.4, 3.2)
PANELS_A_ROW = 3
CONFUSION_INCHES = 2.3
CONFUSIONS_A_ROW = 4
DODGE = 1.03  # factor of p between neighbouring systems, lest their intervals hide each other
X_LABELS = {
    "bsc": "probability that a bit flips",
    "erasure": "probability that a bit is erased",
    "gilbert-elliott": "share of bits flipped, in bursts",
    "packet": "probability that a packet is lost",
}
TITLES = {
    "stoi": "STOI",
    "pesq": "PESQ (wide band)",
    "si_sdr_db": "SI-SDR (dB)",
    "mel_distance": "mel distance",
    "si_sdr_to_clean_db": "SI-SDR to undamaged (dB)",
    "mel_to_clean": "mel distance to undamaged",
}


def robustness_png(
    target: str | Path | BinaryIO,
    estimates: Sequence[dict[str, Any]],
    metrics: Sequence[str],
    *,
    title: str,
    channel: str,
) -> None:
    """Draw each metric over p on a logarithmic axis, a line a system with its 95 % intervals; without a channel dashed.

    Args:
        estimates: of `RobustnessResult.estimates`.
        channel: of `channel.CHANNELS`, for the name of the axis.

    Raises:
        ValueError: nothing to draw.
    """
    if not estimates or not metrics:
        raise ValueError("no figure to draw")
    columns = min(PANELS_A_ROW, len(metrics))
    rows = math.ceil(len(metrics) / columns)
    figure = new_figure(PANEL_INCHES[0] * columns, PANEL_INCHES[1] * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in estimates:
        groups.setdefault(row["system"], []).append(row)
    undamaged = {name: rows[0] for name, rows in groups.items() if name.startswith(CLEAN)}
    damaged = {
        # a logarithmic axis has no room for 0
        name: sorted((row for row in rows if row["p"] > 0), key=lambda row: row["p"])
        for name, rows in groups.items()
        if name not in undamaged
    }
    for axes, metric in zip(panels, metrics, strict=False):
        for (name, row), style in zip(undamaged.items(), ("--", ":"), strict=False):
            if row[metric]["mean"] is not None:
                axes.axhline(row[metric]["mean"], color="0.3", linestyle=style, linewidth=1, label=name)
        for number, (name, found) in enumerate(damaged.items()):
            _draw(axes, name, [row for row in found if row[metric]["mean"] is not None], metric, number)
        axes.set(xscale="log", xlabel=X_LABELS[channel], ylabel=TITLES.get(metric, metric))
        axes.grid(alpha=0.3)
    for axes in panels[len(metrics) :]:
        axes.set_axis_off()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), fontsize="small")
    figure.suptitle(title)
    save_png(figure, target)


def _draw(axes: Any, name: str, rows: Sequence[dict[str, Any]], metric: str, number: int) -> None:
    """One system's means and intervals over p."""
    means = [row[metric]["mean"] for row in rows]
    # an interval of one value lies beside it by a rounding error
    below = [max(0.0, row[metric]["mean"] - row[metric]["low"]) for row in rows]
    above = [max(0.0, row[metric]["high"] - row[metric]["mean"]) for row in rows]
    places = [row["p"] * DODGE**number for row in rows]
    axes.errorbar(places, means, (below, above), color=f"C{number}", marker="o", markersize=3, capsize=2, label=name)


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
    figure.suptitle(result.summary().replace(" (", "\n("), fontsize="medium")
    save_png(figure, target)


def _shares(confusion: Tensor) -> Tensor:
    return confusion.double() / confusion.sum(1, keepdim=True)  # NaN, which stays white, for a level that never came
