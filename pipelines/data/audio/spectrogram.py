"""Mel spectrograms of audio, as levels in dB and as PNG images.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import torch
from torch import Tensor

from ....core.figures import new_figure, save_png
from ....layers.mel import hz_to_mel, magnitudes, mel_filters

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

RANGE_DB = 80.0  # anything further below the loudest point is black
NUM_MELS = 128
MAX_COLUMNS = 1200  # frames drawn at most
TICKS_HZ = (0, 500, 1000, 2000, 4000, 8000, 16000)


def spectrogram_png(target: str | Path | BinaryIO, audio: Tensor, sample_rate: int, *, title: str = "") -> None:
    """Draws the mel spectrogram of audio as a PNG, with axes in s and Hz and the power averaged over channels.

    Args:
        target: a path, which is written atomically, or a binary file.
        audio: [C, N] or [N]; NaN and inf are drawn as silence.
        sample_rate: of the audio, in Hz.
        title: text above the image.

    Raises:
        ValueError: audio of another shape, or empty.
    """
    level_db, duration_s = mel_levels(audio, sample_rate)
    figure = new_figure(8.0, 2.6)
    axes = figure.subplots()
    image = draw_levels(axes, level_db, duration_s, sample_rate / 2)
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)", title=title)
    figure.colorbar(image, ax=axes, label="dB re peak", pad=0.01)
    save_png(figure, target)


def draw_levels(
    axes: Axes, level_db: np.ndarray, duration_s: float, top_hz: float, ticks_hz: Sequence[int] = TICKS_HZ
) -> AxesImage:
    """Draws mel levels with a scale in Hz.

    Args:
        axes: to draw on.
        level_db: [mel bands, columns], at most 0.
        duration_s: of the columns.
        top_hz: of the mel bands.
        ticks_hz: frequencies that are labeled, as far as they lie below `top_hz`.

    Returns:
        The image.
    """
    image = axes.imshow(
        level_db,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=-RANGE_DB,
        vmax=0.0,
        extent=(0.0, duration_s, 0.0, float(hz_to_mel(np.array(top_hz)))),
    )
    ticks = [hz for hz in ticks_hz if hz <= top_hz]
    axes.set_yticks(hz_to_mel(np.array(ticks, float)), [f"{hz:,}".replace(",", " ") for hz in ticks])
    return image


def mel_levels(audio: Tensor, sample_rate: int, peak: float | None = None) -> tuple[np.ndarray, float]:
    """Returns mel levels [mel bands, columns] in dB (at least -80), and the duration in s.

    Args:
        audio: [C, N] or [N]; NaN and inf are silence.
        sample_rate: in Hz.
        peak: power at 0 dB, as `mel_power` has it; by default that of the loudest point.

    Raises:
        ValueError: audio of another shape, or empty.
    """
    mel = mel_power(audio, sample_rate)
    reference = max(float(mel.max()) if peak is None else peak, 1e-10)
    level = 10.0 * torch.log10((mel / reference).clamp_min(10.0 ** (-RANGE_DB / 10.0)))
    return level.numpy(), audio.shape[-1] / sample_rate


def mel_power(audio: Tensor, sample_rate: int) -> Tensor:
    """Returns the power [mel bands, columns] of audio [C, N] or [N], averaged over channels.

    Raises:
        ValueError: audio of another shape, or empty.
    """
    audio = torch.as_tensor(audio).detach().cpu().float()
    audio = audio[None] if audio.ndim == 1 else audio
    if audio.ndim != 2 or audio.shape[-1] < 1 or audio.shape[0] < 1:
        raise ValueError(f"audio must be [channels, samples] with at least one sample, got {tuple(audio.shape)}")
    audio = torch.nan_to_num(audio, nan=0.0, posinf=0.0, neginf=0.0)
    window = 2 ** round(np.log2(max(64, sample_rate * 0.046)))  # about 46 ms
    hop = max(window // 4, -(-audio.shape[-1] // MAX_COLUMNS))
    power = magnitudes(audio, window, hop).square().mean(0)
    bands = min(NUM_MELS, window // 8)
    return mel_filters(sample_rate, window, bands).float() @ power
