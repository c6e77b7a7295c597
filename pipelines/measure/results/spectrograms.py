"""Spectrograms of players next to each other, with the same axes and the same 0 dB.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ....core.figures import adapt_to_page, new_figure, save_png
from ....layers.audio import to_rate
from ...data.audio.spectrogram import draw_levels, mel_levels, mel_power
from .audio import AudioCell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_INCHES = (4.6, 1.9)
DPI = 120
FONT_POINTS = 10
TICKS_HZ = (0, 1000, 4000, 8000, 16000)
MARK = "#4ec9ff"


def shared_spectrograms(cells: Sequence[AudioCell]) -> list[bytes]:
    """Draws the spectrogram of each player, for a page.

    All reach to the highest frequency that every player has and to the end of the longest, and 0 dB is the loudest
    point of all. Parts that are marked lie between dashed lines.

    Args:
        cells: at least one.

    Returns:
        A PNG of each.

    Raises:
        ValueError: audio of another shape than [C, N], or empty.
    """
    rate = min(cell.sample_rate for cell in cells)
    mono = [_mono(cell, rate) for cell in cells]
    longest_s = max(audio.shape[-1] for audio in mono) / rate
    peak = max(float(mel_power(audio, rate).max()) for audio in mono)
    pictures = []
    for cell, audio in zip(cells, mono, strict=True):
        figure = new_figure(*SIZE_INCHES, dpi=DPI)
        axes = figure.subplots()
        draw_levels(axes, *mel_levels(audio, rate, peak), rate / 2, TICKS_HZ)
        axes.set_xlim(0, longest_s)
        axes.tick_params(labelsize=FONT_POINTS)
        axes.set_xlabel("s", fontsize=FONT_POINTS, labelpad=1)
        axes.set_ylabel("Hz", fontsize=FONT_POINTS, labelpad=1)
        _mark(axes, cell.marks)
        adapt_to_page(figure)
        target = io.BytesIO()
        save_png(figure, target)
        pictures.append(target.getvalue())
    return pictures


def _mono(cell: AudioCell, sample_rate: int) -> Tensor:
    """Audio [1, N] at a rate; NaN and inf are silence."""
    audio = torch.nan_to_num(cell.audio.detach().cpu().float(), posinf=0.0, neginf=0.0)
    return to_rate(audio.mean(0, keepdim=True), cell.sample_rate, sample_rate)


def _mark(axes: Axes, marks: Sequence[tuple[float, float]]) -> None:
    for edge_s in {edge_s for mark in marks for edge_s in mark}:
        axes.axvline(edge_s, color=MARK, linestyle="--", linewidth=1.5)
