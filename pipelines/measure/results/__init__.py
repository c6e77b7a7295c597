"""One self-contained HTML page of figures, curves, spectrograms and audio."""

from .page import Report
from .plots import curve_svg, intervals_svg

__all__ = ["Report", "curve_svg", "intervals_svg"]
