"""Curves and intervals as SVG, sensitivities as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ....core.figures import adapt_to_page, new_figure, save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curve_svg(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str) -> str:
    """Draws lines through (x, y) points; points that are not finite leave a gap.

    Args:
        curves: the lines by name, each as (x, y).
        x_label: label of the x axis.
        y_label: label of the y axis.

    Returns:
        The text of an SVG element.

    Raises:
        ValueError: no curve, or x and y of different lengths.
    """
    if not curves:
        raise ValueError("no curve to draw")
    figure = new_figure(8.0, 3.2)
    axes = figure.subplots()
    for name, (x, y) in curves.items():
        if len(x) != len(y):
            raise ValueError(f"curve {name!r} has {len(x)} x and {len(y)} y values")
        marker = "o" if len(x) <= 20 else None
        axes.plot(x, [v if np.isfinite(v) else np.nan for v in y], label=name, marker=marker, markersize=3)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.grid(alpha=0.3)
    axes.legend()
    adapt_to_page(figure)
    return _svg(figure)


def intervals_svg(rows: Mapping[str, tuple[float | None, float | None, float | None]], label: str) -> str:
    """A point with its interval for each name, one below the other, as the text of an SVG element.

    Args:
        rows: name -> (value, low, high); without a value the row stays empty, without ends the point stands alone.

    Raises:
        ValueError: no row.
    """
    if not rows:
        raise ValueError("no row to draw")
    figure = new_figure(8.0, 0.8 + 0.35 * len(rows))
    axes = figure.subplots()
    for place, (value, low, high) in enumerate(rows.values()):
        if value is None or not np.isfinite(value):
            continue
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color="0.45", linewidth=2, solid_capstyle="butt")
        axes.plot([value], [place], "o", color="tab:purple", markersize=5)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(alpha=0.3, axis="x")
    adapt_to_page(figure)
    return _svg(figure)


def sensitivity_png(
    target: str | Path | BinaryIO,
    losses: Mapping[str, tuple[Tensor, Tensor]],
    sample_rate: int,
    window_samples: int,
    hop_samples: int,
) -> None:
    """Draw how sensitive losses are to samples and bins, one row per loss, as a PNG.

    Args:
        target: a path, written atomically, or a binary file.
        losses: name to the sensitivity of samples [N] and of bins [F, T], each drawn relative to its mean.
        window_samples: window of the T frames.
        hop_samples: hop of the T frames.

    Raises:
        ValueError: no loss.
    """
    if not losses:
        raise ValueError("no loss to draw")
    figure = new_figure(10.0, 2.6 * len(losses))
    rows = figure.subplots(len(losses), 2, squeeze=False, sharey="col")
    for (name, (samples, bins)), (left, right) in zip(losses.items(), rows, strict=True):
        left.plot(np.arange(len(samples)), (samples / samples.mean()).cpu().numpy(), linewidth=0.6)
        left.set(xlabel="sample", ylabel="sensitivity / mean", title=f"{name}: samples")
        start = (window_samples - hop_samples) / 2  # a frame is drawn around its middle
        extent = (start, start + bins.shape[1] * hop_samples, 0.0, sample_rate / 2)
        level_db = 20 * torch.log10(bins / bins.mean()).cpu().numpy()
        image = right.imshow(level_db, origin="lower", aspect="auto", cmap="magma", vmin=-6, vmax=6, extent=extent)
        right.set(xlabel="sample", ylabel="frequency (Hz)", title=f"{name}: bins", xlim=left.get_xlim())
        figure.colorbar(image, ax=right, label="dB re mean", pad=0.01)
    save_png(figure, target)


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]
