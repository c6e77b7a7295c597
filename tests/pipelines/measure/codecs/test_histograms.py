"""Histograms of latents."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from codec_runs import config

from latentune.core.errors import AudioError, ConfigError
from latentune.pipelines.measure.codecs.histograms import NUM_BINS
from latentune.pipelines.measure.codecs.run import run_experiment


def test_histograms_are_those_of_the_values(folder: Path, tmp_path: Path, tiny_melcodec: Any, tiny_codec: Any) -> None:
    other = tmp_path / "codec"
    tiny_codec.save_pretrained(other)
    settings = config(folder, tmp_path / "out", tokenizer="mel", compare=(str(other),))
    table = run_experiment("histograms", settings, tiny_melcodec).table
    assert list(table.systems) == ["mel", str(other)]
    with open(tmp_path / "out" / "histograms.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == NUM_BINS
    for name in table.systems:
        density = torch.tensor([float(row[name]) for row in rows])
        place = torch.tensor([float(row["value"]) for row in rows])
        assert float(density.sum()) * 2 / NUM_BINS == pytest.approx(1.0, rel=1e-4)
        mean = float((density * place).sum() / density.sum())
        spread = float((density * (place - mean).square()).sum() / density.sum()) ** 0.5
        assert table.estimate(name, "deviation").value == pytest.approx(spread, rel=0.2)
    # levels of a uniform quantizer with n levels are 2 / (n - 1) apart; no value is further than half of that from one
    levels = min(size for book in tiny_melcodec.spec.levels for size in book)
    assert 0 < table.estimate("mel", "rounding_error").value <= 1 / (levels - 1)  # type: ignore[operator]
    assert (tmp_path / "out" / "histograms.png").read_bytes().startswith(b"\x89PNG")


def test_what_cannot_be_shown_is_refused(folder: Path, tmp_path: Path, tiny_melcodec: Any) -> None:
    with pytest.raises(ConfigError, match="names a codec twice"):
        run_experiment("histograms", config(folder, tokenizer="mel", compare=("mel",)), tiny_melcodec)
    (tmp_path / "x.wav").write_bytes(b"no audio")
    with pytest.raises(AudioError, match="none of 1 audio files"):
        run_experiment("histograms", config(tmp_path), tiny_melcodec)
