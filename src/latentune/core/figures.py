"""Matplotlib figures without global state or a display, and PNG files of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .extras import import_extra, install_command, is_installed
from .files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

DPI = 100
PAGE_GRAY = "#7d8590"


def can_draw(what: str) -> bool:
    """Returns whether matplotlib is installed; where it is not, a line of the log says what is left out.

    This is for plots that nobody asked for by name. Those that were asked for raise `MissingPackageError` instead.

    Args:
        what: the plots in the plural, such as `"spectrograms"`.
    """
    if is_installed("matplotlib"):
        return True
    logger.info("%s are left out: matplotlib is not installed (%s)", what, install_command("matplotlib", "report"))
    return False


def new_figure(width_inches: float, height_inches: float, *, dpi: int = DPI) -> Figure:
    """Returns an empty figure.

    Args:
        width_inches: its width.
        height_inches: its height.
        dpi: its dots per inch.

    Raises:
        MissingPackageError: Matplotlib is not installed.
    """
    module = import_extra("matplotlib.figure", "report", "a plot")
    figure: Figure = module.Figure(figsize=(width_inches, height_inches), dpi=dpi, layout="constrained")
    return figure


def adapt_to_page(figure: Figure) -> None:
    """Draws axes and their text in a gray that is legible on light and on dark paper, and no paper of its own."""
    figure.patch.set_alpha(0.0)
    for axes in figure.axes:
        axes.patch.set_alpha(0.0)
        for item in (axes.title, axes.xaxis.label, axes.yaxis.label):
            item.set_color(PAGE_GRAY)
        axes.tick_params(colors=PAGE_GRAY)
        for spine in axes.spines.values():
            spine.set_color(PAGE_GRAY)
        if (legend := axes.get_legend()) is not None:
            legend.get_frame().set_alpha(0.0)
            for text in legend.get_texts():
                text.set_color(PAGE_GRAY)


def save_png(figure: Figure, target: str | Path | BinaryIO) -> None:
    """Writes a figure as PNG, to a path (atomically) or to a binary file."""
    # without the Software entry the bytes do not depend on matplotlib's version
    options: dict[str, Any] = {"format": "png", "metadata": {"Software": None}, "dpi": "figure"}
    if isinstance(target, (str, Path)):
        with atomic_path(target) as part:
            figure.savefig(part, **options)
    else:
        figure.savefig(target, **options)
