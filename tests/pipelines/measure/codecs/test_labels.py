"""Labels from latents and tokens by a linear classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from codec_runs import config

from latentune.core.errors import ConfigError
from latentune.pipelines.measure.codecs.labels import CHANCE
from latentune.pipelines.measure.codecs.linear import _left_out_errors, cross_validated, majority, make_folds
from latentune.pipelines.measure.codecs.run import run_experiment

RATE = 8000


@pytest.mark.parametrize("strength", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("num_features", [3, 40])
def test_errors_of_left_out_examples_are_those_of_fits_without_them(strength: float, num_features: int) -> None:
    """An independent reference: each example is left out in turn, and the normal equations are solved for the rest."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(12, num_features)), random.normal(size=(12, 2))
    x, y = x - x.mean(0), y - y.mean(0)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    expected = []
    penalty = np.diag([strength] * num_features + [0.0])  # the constant is free
    constant = np.hstack((x, np.ones((12, 1))))
    for place in range(12):
        rest = np.arange(12) != place
        weights = np.linalg.solve(constant[rest].T @ constant[rest] + penalty, constant[rest].T @ y[rest])
        expected.append(y[place] - constant[place] @ weights)
    np.testing.assert_allclose(_left_out_errors(u, s, u.T @ y, y, strength), expected, atol=1e-9)


def test_a_label_that_is_in_the_features_is_found_and_one_that_is_not_is_not() -> None:
    random = np.random.default_rng(1)
    features, labels = random.normal(size=(150, 60)), ["a", "b", "c"] * 50
    folds = make_folds(labels, None, 5, 0)
    guesses = cross_validated(features, labels, folds)
    assert np.mean([a == b for a, b in zip(labels, guesses, strict=True)]) == pytest.approx(1 / 3, abs=0.12)
    features[:, 7] = 0.0  # a feature without spread
    features[:, 3] += [{"a": 0.0, "b": 4.0, "c": 8.0}[label] for label in labels]
    features[:, 5] += [{"a": 0.0, "b": 9.0, "c": 0.0}[label] for label in labels]
    guesses = cross_validated(features, labels, folds)
    assert np.mean([a == b for a, b in zip(labels, guesses, strict=True)]) > 0.95


def test_folds_share_labels_out_and_keep_groups_together() -> None:
    labels = ["a"] * 20 + ["b"] * 10
    folds = make_folds(labels, None, 5, 0)
    assert [(folds[:20] == fold).sum() for fold in range(5)] == [4] * 5
    assert [(folds[20:] == fold).sum() for fold in range(5)] == [2] * 5
    assert not np.array_equal(folds, make_folds(labels, None, 5, 1))
    groups = [f"album {number % 7}" for number in range(30)]
    folds = make_folds(labels, groups, 3, 0)
    assert set(folds) == {0, 1, 2}
    assert all(len({fold for fold, own in zip(folds, groups, strict=True) if own == name}) == 1 for name in groups)
    with pytest.raises(ValueError, match="as many groups: there are 7"):
        make_folds(labels, groups, 8, 0)
    with pytest.raises(ValueError, match="at least 2"):
        make_folds(labels, None, 1, 0)


def test_the_most_frequent_label_is_that_of_the_other_folds() -> None:
    assert majority(["a", "a", "b", "b", "b"], np.array([0, 0, 1, 1, 0])) == ["b", "b", "a", "a", "b"]


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Twelve short files: tones and noise, of four albums; one row without a label, one file that is broken."""
    random, rows = np.random.default_rng(0), []
    for number in range(12):
        time = np.arange(2400) / RATE
        tone = 0.2 * np.sin(2 * np.pi * (300 + 20 * number) * time)
        audio = tone if number % 2 else 0.2 * random.normal(size=2400)
        soundfile.write(tmp_path / f"{number}.wav", audio, RATE)
        rows.append({"path": f"{number}.wav", "kind": "tone" if number % 2 else "noise", "album": number // 3})
    soundfile.write(tmp_path / "x.wav", tone, RATE)
    (tmp_path / "y.wav").write_bytes(b"no audio")
    rows += [{"path": "x.wav"}, {"path": "y.wav", "kind": "tone", "album": 0}]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_tones_and_noise_are_told_apart_in_both_streams(manifest: Path, tmp_path: Path, tiny_melcodec: Any) -> None:
    (tmp_path / "out").mkdir()
    result = run_experiment("labels", config(manifest, tmp_path / "out", label="kind", folds=3), tiny_melcodec)
    table = result.table
    assert list(table.systems) == ["latents", "tokens", "mel spectrum", CHANCE]
    for system in ("latents", "tokens", "mel spectrum"):
        assert table.estimate(system, "accuracy").value == 1.0, system
    assert table.estimate(CHANCE, "accuracy").value == pytest.approx(0.5, abs=0.2)
    written = json.loads((tmp_path / "out" / "labels.json").read_text())
    assert written["labels"] == {"noise": 6, "tone": 6}
    assert [Path(one["path"]).name for one in written["failures"]] == ["y.wav"]
    assert any("1 files have no kind" in line for line in table.warnings)
    again = run_experiment("labels", config(manifest, label="kind", folds=4, fold_by="album"), tiny_melcodec)
    assert again.table.estimate("latents", "accuracy").value == 1.0


def test_what_cannot_be_predicted_is_refused(manifest: Path, tiny_melcodec: Any) -> None:
    for settings, message in (
        ({}, "label names the column"),
        ({"label": "genre"}, "no file has a column 'genre'"),
        ({"label": "kind", "where": {"kind": "tone"}}, "all files have the same kind"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_experiment("labels", config(manifest, **settings), tiny_melcodec)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="as many files: there are 12"):
        run_experiment("labels", config(manifest, label="kind", folds=13), tiny_melcodec)
    with pytest.raises(ConfigError, match="folds must be at least 2"):
        config(manifest, folds=1)
