"""Pictures of audio and of streams as arrays of pixels, all with time from left to right over their whole width.

Shape letters: C channels, N samples, T frames, R rows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...core.extras import import_extra
from ..data.audio.spectrogram import RANGE_DB, mel_levels

Pixels = np.ndarray  # [height, width, 3 or 4] uint8

WIDTH = 960
WAVE_HEIGHT = 120
SPECTROGRAM_HEIGHT = 240
ROW_HEIGHTS = (4, 16)  # pixels of a row of a stream, lowest and highest
STREAM_HEIGHT = 160
WAVE_RGB = (194, 80, 140)  # seen on light and on dark
SHADE = 0.35  # brightness of what is outside of a region


def waveform(audio: Tensor) -> Pixels:
    """Returns the range of the samples of audio [C, N] in each column, on a transparent ground."""
    mono = torch.nan_to_num(audio.float().mean(0)).clamp(-1.0, 1.0).numpy()
    edges = np.linspace(0, len(mono), min(WIDTH, len(mono)) + 1).astype(int)[:-1]
    high, low = np.maximum.reduceat(mono, edges), np.minimum.reduceat(mono, edges)
    rows = np.linspace(1, -1, WAVE_HEIGHT)[:, None]
    line = 2 / WAVE_HEIGHT
    inside = (rows <= high + line) & (rows >= low - line)
    picture = np.zeros((*inside.shape, 4), np.uint8)
    picture[inside] = (*WAVE_RGB, 255)
    return _stretched(picture, WAVE_HEIGHT)


def spectrogram(audio: Tensor, sample_rate: int, region: tuple[float, float] | None = None) -> Pixels:
    """Returns the mel spectrogram of audio.

    Args:
        audio: [C, N].
        sample_rate: in Hz.
        region: (start, end) in seconds that stands out; None: nothing does.

    Returns:
        Pixels, low frequencies at the bottom.
    """
    levels, duration_s = mel_levels(audio, sample_rate)
    picture = _stretched(_colored(levels[::-1] / RANGE_DB + 1.0, "magma"), SPECTROGRAM_HEIGHT)
    if region is not None:
        columns = (np.arange(WIDTH) + 0.5) / WIDTH * duration_s
        outside = (columns < region[0]) | (columns >= region[1])
        picture[:, outside] = (picture[:, outside] * SHADE).astype(np.uint8)
    return picture


def stream(values: Tensor) -> Pixels:
    """Returns a stream [T, R] in colors, each row over its own range, the first row at the top."""
    rows = values.float().cpu().numpy().T
    low, high = rows.min(1, keepdims=True), rows.max(1, keepdims=True)
    height = int(np.clip(STREAM_HEIGHT // len(rows), *ROW_HEIGHTS)) * len(rows)
    return _stretched(_colored((rows - low) / np.maximum(high - low, 1e-9), "viridis"), height)


def _colored(shares: np.ndarray, name: str) -> Pixels:
    """Returns the colors [..., 3] of numbers in 0..1."""
    colors = import_extra("matplotlib", "web", "a picture").colormaps[name]
    picture: Pixels = colors(np.clip(shares, 0.0, 1.0), bytes=True)[..., :3]
    return picture


def _stretched(picture: Pixels, height: int) -> Pixels:
    """Returns a picture of `WIDTH` and this height, with the nearest pixels."""
    rows = np.arange(height) * len(picture) // height
    columns = np.arange(WIDTH) * picture.shape[1] // WIDTH
    return picture[rows][:, columns]
