"""Gaussians by a factor, compared with the same distance from statistics."""

import numpy as np
import pytest

from latentune.pipelines.measure.metrics import GaussianStatistics, frechet_distance
from latentune.pipelines.measure.metrics.factored import factored_distance, factored_embeddings, factored_statistics
from latentune.pipelines.measure.metrics.sets import moments

DIM = 24


def embeddings(num: int, seed: int) -> np.ndarray:
    mixing = np.random.default_rng(99).normal(size=(DIM, DIM)) / 5 + np.eye(DIM)
    return (np.random.default_rng(seed).normal(size=(num, DIM)) @ mixing + seed / 10).astype(np.float32)


@pytest.mark.parametrize("num", [2, 10, DIM, DIM + 1, 100])
def test_it_gives_the_distance_of_the_statistics(num: int) -> None:
    reference, values = GaussianStatistics.of(embeddings(200, 0)), embeddings(num, 1)
    got = factored_distance(factored_statistics(reference), factored_embeddings(values))
    assert got == pytest.approx(frechet_distance(reference, GaussianStatistics.of(values)), rel=1e-6)


@pytest.mark.parametrize("sizes", [(10, 8), (DIM, 2), (DIM, DIM), (100, 8)])
def test_arrays_give_what_their_statistics_give(sizes: tuple[int, int]) -> None:
    sides = [embeddings(num, seed) for seed, num in enumerate(sizes)]
    whole = frechet_distance(*map(GaussianStatistics.of, sides))
    assert frechet_distance(*sides) == pytest.approx(whole, rel=1e-6)
    assert frechet_distance(sides[0], sides[0]) <= 1e-7 * np.trace(GaussianStatistics.of(sides[0]).covariance)


@pytest.mark.parametrize("num", [8, 60])
def test_rows_that_are_there_several_times_are_as_if_repeated(num: int) -> None:
    values = embeddings(num, 1)
    times = np.random.default_rng(0).integers(0, 3, num)
    times[:2] = (3, 0)
    reference = factored_statistics(GaussianStatistics.of(embeddings(200, 0)))
    repeated = factored_embeddings(np.repeat(values, times, axis=0))
    got = factored_embeddings(values, times)
    assert got.rank == min(DIM, np.count_nonzero(times) - (np.count_nonzero(times) <= DIM))
    assert factored_distance(reference, got) == pytest.approx(factored_distance(reference, repeated), rel=1e-6)


def test_moments_by_blocks_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentune.pipelines.measure.metrics.sets.BLOCK_ROWS", 7)
    values = embeddings(45, 1)
    times = np.arange(45) % 3
    for weights, rows in ((None, values), (times, np.repeat(values, times, axis=0))):
        num, mean, scatter = moments(values, weights)
        assert num == len(rows)
        np.testing.assert_allclose(mean, rows.mean(0, dtype=np.float64), rtol=1e-12)
        np.testing.assert_allclose(scatter, np.cov(rows, rowvar=False) * (num - 1), rtol=1e-9, atol=1e-9)


def test_one_embedding_is_a_point() -> None:
    reference = GaussianStatistics.of(embeddings(200, 0))
    point = embeddings(1, 1)
    expected = np.square(point[0] - reference.mean).sum() + np.trace(reference.covariance)
    got = factored_distance(factored_statistics(reference), factored_embeddings(point))
    assert got == pytest.approx(expected, rel=1e-9)
