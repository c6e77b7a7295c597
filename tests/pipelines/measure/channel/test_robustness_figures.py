"""The figures of a channel experiment: means, intervals, speech, and those without a value."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from channel_runs import run, text_of

from latentune.pipelines.measure.codecs.figures.common import Undefined
from latentune.pipelines.measure.codecs.figures.quality import pesq, stoi
from latentune.pipelines.measure.results import FigureFacts, ResultsTable

RATE = 16_000


def nested(values: list[list[float | None]]) -> ResultsTable:
    """A table of one figure, with the values of each file."""
    table = ResultsTable(nested=True, figures={"x": FigureFacts()})
    for number, row in enumerate(values):
        for value in row:
            table.add("system", f"{number}.wav", "x", value)
    return table


def test_the_interval_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    table = rng.normal(3.0, 1.0, (100, 1)) + rng.normal(0.0, 0.1, (100, 5))
    found = nested(table.tolist()).estimate("system", "x")
    assert found.value == pytest.approx(table.mean())
    half = 1.96 * table.mean(1).std() / 10
    assert found.low == pytest.approx(found.value - half, abs=0.15 * half)
    assert found.high == pytest.approx(found.value + half, abs=0.15 * half)
    assert nested(table.tolist()).estimate("system", "x") == found
    assert (found.num_values, found.num_missing) == (500, 0)


def test_missing_values_are_counted_and_left_out() -> None:
    found = nested([[1.0, None, 1.0], [None, None, None], [3.0, 3.0, 3.0]]).estimate("system", "x")
    assert (found.value, found.num_values, found.num_missing) == (2.0, 5, 4)
    nothing = nested([[None, None]]).estimate("system", "x")
    assert (nothing.value, nothing.low, nothing.num_missing) == (None, None, 2)


def speechlike(seconds: float, seed: int = 0) -> torch.Tensor:
    """A voice [1, N] in syllables, below full scale."""
    rng = random.Random(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    carrier = sum(np.sin(2 * np.pi * 130 * k * time_s + rng.random() * 6) / k for k in range(1, 20))
    audio = 0.1 * np.asarray(carrier) * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s))
    return torch.from_numpy(audio).float()[None]


def test_speech_metrics_fall_with_noise() -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    clean = speechlike(1.5)
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=clean.shape)).float()
    for metric, best in ((stoi, 1.0), (pesq, 4.64)):
        figures = [metric(clean, clean + scale * noise, RATE) for scale in (0.0, 0.001, 0.1)]
        assert figures[0] == pytest.approx(best, abs=0.01)
        assert figures[0] > figures[1] > figures[2]


def test_speech_metrics_without_a_value_say_so() -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    short, silent = speechlike(0.2), torch.zeros(1, RATE)
    with pytest.raises(Undefined, match="not silence"):
        stoi(short, short, RATE)
    for reference, estimate in ((short, short), (silent, speechlike(1.0)), (speechlike(1.0), silent)):
        with pytest.raises(Undefined):
            pesq(reference, estimate, RATE)


def test_files_without_a_value_are_listed(step_codec: Any, tmp_path: Path) -> None:
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    soundfile.write(tmp_path / "short.wav", speechlike(0.2)[0].numpy(), RATE)
    settings: dict[str, Any] = {"metrics": ("stoi", "pesq_wb"), "seeds": 1, "p": (0.1,)}
    result = run(step_codec, tmp_path, **settings)
    undefined = {(row["file"], row["figure"]) for row in result.table.undefined}
    assert undefined == {("short.wav", "pesq_wb"), ("short.wav", "stoi")}
    assert result.rows[0]["stoi"] is None
    assert any("no value" in line for line in result.table.warnings)


def test_a_metric_that_cannot_be_imported_is_absent(
    step_codec: Any, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("latentune.pipelines.measure.codecs.figures.catalog.is_installed", lambda name: None)
    result = run(step_codec, clips, metrics=("stoi", "pesq_wb"))
    facts = result.to_dict()
    assert set(facts["absent_metrics"]) == {"stoi", "pesq_wb"}
    assert all("pip install '" in reason for reason in facts["absent_metrics"].values())
    assert "stoi" not in facts["metrics"]
    assert "stoi" not in text_of(result).splitlines()[0]


class Counts:
    """A recognizer that says one word for each loud tenth of a second."""

    name = "counts 1"

    def transcribe(self, audio: np.ndarray) -> str:
        return " ".join("word" for part in np.array_split(audio, 10) if np.abs(part).mean() > 0.05) or "none"


def test_words_are_counted_where_a_recognizer_is_given(
    step_codec: Any, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jiwer")
    pytest.importorskip("whisper_normalizer")
    place = "latentune.pipelines.measure.codecs.speech_metrics.load_transcriber"
    monkeypatch.setattr(place, lambda *given, **options: Counts())
    result = run(step_codec, clips, transcriber="here", text="original", p=(0.5,))
    assert "counts 1" in result.table.figures["wer"].model
    assert result.table.estimate("clean, own", "wer").num_values == 2
    assert result.table.estimate("natural, p = 0.5", "wer_capped_change").num_values == 6
