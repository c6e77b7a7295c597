"""Pictures of audio and of curves, drawn with matplotlib's figure objects: no global state, no display.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ....core.files import atomic_path
from ....layers.mel import hz_to_mel, magnitudes, mel_filters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RANGE_DB = 80.0  # what lies further below the loudest point is black
NUM_MELS = 128
MAX_COLUMNS = 1200  # frames drawn at most
TICKS_HZ = (0, 500, 1000, 2000, 4000, 8000, 16000)
DPI = 100


def spectrogram_png(target: str | Path | BinaryIO, audio: Tensor, sample_rate: int, *, title: str = "") -> None:
    """Draw the mel spectrogram of audio [C, N] (or [N]) as a PNG, axes in s and Hz, channels averaged in power.

    Args:
        target: a path, written atomically, or a binary file.

    Raises:
        ValueError: audio of another shape, or empty. NaN and inf are drawn as silence.
    """
    level_db, duration_s = mel_levels(audio, sample_rate)
    figure = new_figure(8.0, 2.6)
    axes = figure.subplots()
    top_hz = sample_rate / 2
    top_mel = float(hz_to_mel(np.array(top_hz)))
    image = axes.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0.0,
        extent=(0.0, duration_s, 0.0, top_mel),
    )
    ticks = [hz for hz in TICKS_HZ if hz <= top_hz]
    axes.set_yticks(hz_to_mel(np.array(ticks, float)), [f"{hz:,}".replace(",", " ") for hz in ticks])
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    figure.colorbar(image, ax=axes, label="dB re peak", pad=0.01)
    save_png(figure, target)


def mel_levels(audio: Tensor, sample_rate: int) -> tuple[np.ndarray, float]:
    """Mel levels [mel bands, columns] in dB relative to the loudest point, at least -80, and the duration in s."""
    audio = torch.as_tensor(audio).detach().cpu().float()
    audio = audio[None] if audio.ndim == 1 else audio
    if audio.ndim != 2 or audio.shape[-1] < 1 or audio.shape[0] < 1:
        raise ValueError(f"audio must be [channels, samples] with at least one sample, got {tuple(audio.shape)}")
    audio = torch.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)
    window = 2 ** round(np.log2(max(64, sample_rate * 0.046)))  # about 46 ms
    hop = max(window // 4, -(-audio.shape[-1] // MAX_COLUMNS))
    power = magnitudes(audio, window, hop).square().mean(0)
    bands = min(NUM_MELS, window // 8)
    mel = mel_filters(sample_rate, window, bands).float() @ power
    peak = mel.max().clamp_min(1e-10)
    level = 10.0 * torch.log10((mel / peak).clamp_min(10.0 ** (-RANGE_DB / 10.0)))
    return level.numpy(), audio.shape[-1] / sample_rate


def curve_svg(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str) -> str:
    """Lines through (x, y) points as the text of an SVG element; points that are not finite leave a gap.

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
        window_samples, hop_samples: of the T frames.

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


def new_figure(width_inches: float, height_inches: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inches, height_inches), dpi=DPI, layout="constrained")


def _svg(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue().decode()
    return text[text.index("<svg") :]


def save_png(figure: Figure, target: str | Path | BinaryIO) -> None:
    # without the Software entry the bytes do not change with matplotlib's version
    options: dict[str, Any] = {"format": "png", "metadata": {"Software": None}}
    if isinstance(target, (str, Path)):
        with atomic_path(target) as part:
            figure.savefig(part, **options)
    else:
        figure.savefig(target, **options)
