"""A report as one HTML file that needs nothing beside it: tables, curves, spectrograms and players are inside.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ....core.extras import import_extra
from ....core.files import write_text
from ...data.audio.spectrogram import spectrogram_png
from .plots import curve_svg, intervals_svg

MIME = {"flac": "audio/flac", "ogg": "audio/ogg"}
OGG_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz that Opus works at


class Report:
    """Blocks of a page in the order they are added; `write` makes the file."""

    def __init__(self, title: str):
        self.title = title
        self._blocks: list[dict[str, Any]] = []

    def add_heading(self, text: str) -> None:
        """Begin a section."""
        self._blocks.append({"kind": "heading", "text": text})

    def add_text(self, text: str) -> None:
        """A paragraph; line breaks are kept."""
        self._blocks.append({"kind": "text", "text": text})

    def add_warning(self, text: str) -> None:
        """A paragraph that stands out."""
        self._blocks.append({"kind": "warning", "text": text})

    def add_table(self, caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of figures. Numbers are shown with four significant digits, None as -.

        Raises:
            ValueError: a row that has not one value for each column.
        """
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"table {caption!r}: a row of {len(row)} values for {len(columns)} columns: {row!r}")
        numeric = [any(_is_number(row[i]) for row in rows) for i in range(len(columns))]
        self._blocks.append(
            {
                "kind": "table",
                "caption": caption,
                "columns": list(zip(columns, numeric, strict=True)),
                "rows": [[(_format(v), number) for v, number in zip(row, numeric, strict=True)] for row in rows],
            }
        )

    def add_curve(
        self,
        caption: str,
        curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
        x_label: str,
        y_label: str,
    ) -> None:
        """Lines by name, each as (x, y)."""
        svg = curve_svg(curves, x_label, y_label)
        self._add_svg(caption, svg)

    def add_intervals(
        self, caption: str, rows: Mapping[str, tuple[float | None, float | None, float | None]], label: str
    ) -> None:
        """A point with its interval for each name: (value, low, high)."""
        svg = intervals_svg(rows, label)
        self._add_svg(caption, svg)

    def add_picture(self, caption: str, png: bytes) -> None:
        """A picture drawn before."""
        self._blocks.append({"kind": "picture", "caption": caption, "mime": "image/png", "data": _base64(png)})

    def _add_svg(self, caption: str, svg: str) -> None:
        data = _base64(svg.encode())
        self._blocks.append({"kind": "picture", "caption": caption, "mime": "image/svg+xml", "data": data})

    def add_audio_row(
        self,
        caption: str,
        cells: Sequence[tuple[str, Tensor, int]],
        text: str = "",
        codec: Literal["flac", "ogg"] = "ogg",
    ) -> None:
        """Players with spectrograms side by side, each as (label, audio [C, N], rate in Hz).

        Raises:
            ValueError: audio of another shape, or empty.
        """
        players = [_player(label, audio, rate, codec) for label, audio, rate in cells]
        self._blocks.append({"kind": "row", "caption": caption, "text": text, "cells": players})

    def add_audio(
        self,
        caption: str,
        audio: Tensor,
        sample_rate: int,
        text: str = "",
        codec: Literal["flac", "ogg"] = "flac",
    ) -> None:
        """A player of audio [C, N] with its spectrogram below.

        Args:
            text: a line under the caption, such as the prompt.
            codec: `flac` (16 bit, lossless) or `ogg` (Opus, about a tenth of that).

        Raises:
            ValueError: audio of another shape, or empty.
        """
        self._blocks.append({"kind": "audio", "text": text, **_player(caption, audio, sample_rate, codec)})

    def render(self) -> str:
        """The page as text; everything added is escaped."""
        jinja2 = import_extra("jinja2", "report", "a report")
        template = (files(__package__) / "page.html.j2").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        return environment.from_string(template).render(title=self.title, blocks=self._blocks)

    def write(self, path: str | Path) -> None:
        """Write the page atomically; the folder must exist."""
        write_text(path, self.render())


def encode_audio(audio: Tensor, sample_rate: int, codec: Literal["flac", "ogg"] = "flac") -> bytes:
    """Audio [C, N] as the bytes of a FLAC (16 bit) or Ogg Opus file; NaN becomes silence, peaks beyond 1 are cut."""
    import soundfile

    if codec not in MIME:
        raise ValueError(f"codec must be one of {', '.join(MIME)}, got {codec!r}")
    audio = torch.nan_to_num(audio.detach().cpu().float()).clamp(-1.0, 1.0)
    audio = audio[None] if audio.ndim == 1 else audio
    if codec == "ogg" and sample_rate not in OGG_RATES:
        from ...data.audio.convert import resample

        target = next((rate for rate in OGG_RATES if rate >= sample_rate), OGG_RATES[-1])
        audio, sample_rate = resample(audio, sample_rate, target).clamp(-1.0, 1.0), target
    buffer = io.BytesIO()
    kind = ("FLAC", "PCM_16") if codec == "flac" else ("OGG", "OPUS")
    soundfile.write(buffer, audio.numpy().T, sample_rate, format=kind[0], subtype=kind[1])
    return buffer.getvalue()


def _player(caption: str, audio: Tensor, sample_rate: int, codec: Literal["flac", "ogg"]) -> dict[str, str]:
    picture = io.BytesIO()
    spectrogram_png(picture, audio, sample_rate)
    return {
        "caption": caption,
        "mime": MIME[codec],
        "audio": _base64(encode_audio(audio, sample_rate, codec)),
        "picture": _base64(picture.getvalue()),
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _format(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return str(value)
