"""Properties of all set metrics: interface, order and grouping, checked input, running objects."""

import subprocess
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

from latentune.core.errors import MismatchError
from latentune.pipelines.measure import metrics
from latentune.pipelines.measure.metrics import (
    GaussianStatistics,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
    sets,
)


def embeddings(num: int, dim: int, seed: int, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, dim)) * scale


def test_the_face_needs_no_torch_and_names_what_it_has() -> None:
    code = (
        "import sys, latentune.pipelines.measure.metrics; "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert metrics.__all__ == sorted(metrics.__all__)
    assert all(hasattr(metrics, name) for name in metrics.__all__)


@pytest.mark.parametrize(("num", "tolerance"), [(300, 1e-9), (20, 1e-6)])
def test_neither_batch_size_nor_order_changes_the_frechet_distance(num: int, tolerance: float) -> None:
    """Full rank and singular, at the tolerances that `frechet` states."""
    reference, generated = embeddings(400, 48, 0), embeddings(num, 48, 1, 1.3).astype(np.float32)
    whole = frechet_distance(reference, generated)
    shuffled = generated[np.random.default_rng(2).permutation(num)]
    for size in (1, 7, 64, num):
        statistics = GaussianStatistics.empty(48)
        for start in range(0, num, size):
            statistics.update(shuffled[start : start + size])
        assert frechet_distance(reference, statistics) == pytest.approx(whole, rel=tolerance)


@pytest.mark.parametrize("function", [kernel_distance, precision_recall_density_coverage])
def test_neither_block_size_nor_order_changes_metrics_of_pairs(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = embeddings(150, 6, 0), embeddings(90, 6, 1, 1.2)
    whole = function(x, y)
    for values in (1, 1000, 5000):
        monkeypatch.setattr(sets, "BLOCK_VALUES", values)
        again = function(x[::-1], y[np.random.default_rng(values).permutation(90)])
        if function is kernel_distance:
            assert again == pytest.approx(whole, abs=1e-12)
        else:
            assert again == whole


@pytest.mark.parametrize("function", [kernel_distance, precision_recall_density_coverage])
def test_memory_is_that_of_a_block(function: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sets, "BLOCK_VALUES", 50_000)
    monkeypatch.setattr("latentune.pipelines.measure.metrics.kernel.PAIRS_AT_ONCE", 50_000)
    x, y = embeddings(1200, 4, 0), embeddings(1200, 4, 1)
    tracemalloc.start()
    function(x, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1200 * 1200 * 8 / 3  # a third of one whole matrix of pairs


def test_squared_distances_are_those_of_the_differences() -> None:
    a, b = embeddings(12, 5, 0), embeddings(9, 5, 1)
    brute = np.square(a[:, None] - b[None]).sum(-1)
    np.testing.assert_allclose(sets.squared_distances(a, b), brute, rtol=1e-12)
    np.testing.assert_array_equal(np.diag(sets.squared_distances(a, a)), 0.0)


@pytest.mark.parametrize("make", [np.asarray, np.float32, torch.from_numpy, lambda x: torch.tensor(x).requires_grad_()])
def test_arrays_and_tensors_of_any_kind_are_taken(make: Any) -> None:
    values = np.round(embeddings(20, 3, 0) * 64) / 64
    np.testing.assert_array_equal(sets.as_embeddings(make(values)), values)
    np.testing.assert_array_equal(sets.as_embeddings(torch.ones(2, 2, dtype=torch.bfloat16)), np.ones((2, 2)))


def test_bad_sets_are_refused() -> None:
    good = embeddings(10, 3, 0)
    with pytest.raises(ValueError, match="generated hold NaN"):
        kernel_distance(good, np.full((4, 3), np.inf))
    with pytest.raises(ValueError, match=r"reference must be \[n, D\], got \(3,\)"):
        kernel_distance(good[0], good)
    with pytest.raises(ValueError, match="width 3, generated of 4"):
        kernel_distance(good, np.zeros((5, 4)))
    with pytest.raises(ValueError, match="generated has 1 embeddings, at least 2"):
        kernel_distance(good, good[:1])
    with pytest.raises(ValueError, match="no file"):
        sets.as_files([])
    with pytest.raises(ValueError, match=r"1 must be \[W >= 1, 3\]"):
        sets.as_files([good, good[:0]])


def test_an_array_is_of_the_embedder_of_the_statistics_beside_it() -> None:
    x, y = embeddings(30, 4, 0), embeddings(30, 4, 1)
    card = GaussianStatistics.of(x, {"embedder": "fake"})
    assert frechet_distance(card, y) == frechet_distance(x, y)
    with pytest.raises(MismatchError, match="embedder"):
        frechet_distance(card, GaussianStatistics.of(y, {"embedder": "other"}))
    with pytest.raises(MismatchError, match="width"):
        frechet_distance(card, y[:, :3])


def test_statistics_gather_and_merge_in_any_grouping() -> None:
    x, y = embeddings(50, 4, 0), embeddings(40, 4, 1, 2.0)
    one, other = GaussianStatistics.empty(4, {"embedder": "fake"}), GaussianStatistics.empty(4, {"embedder": "fake"})
    one.update(torch.from_numpy(y[:15]))
    other.update(y[15:])
    one.merge(other)
    assert frechet_distance(x, one) == pytest.approx(frechet_distance(x, y), rel=1e-9)
    before = other.num, other.mean.copy(), other.scatter.copy()
    one.update(x)
    assert other.num == before[0], "what was merged is left alone"
    np.testing.assert_array_equal(other.mean, before[1])
    np.testing.assert_array_equal(other.scatter, before[2])
    with pytest.raises(MismatchError):
        one.merge(GaussianStatistics.empty(4))
    with pytest.raises(ValueError, match=r"\[n, 4\]"):
        one.update(np.zeros((2, 5)))
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(x, GaussianStatistics.empty(4))
