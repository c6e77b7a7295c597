from pathlib import Path

import numpy as np
import pytest
import scipy.linalg

from latentune.core.errors import CheckpointError, MismatchError
from latentune.pipelines.measure.metrics.frechet import GaussianStatistics, frechet_distance

CARD = {"embedder": "fake", "weights_sha256": "00"}


def embeddings(num: int, dim: int, seed: int, shift: float = 0.0, rank: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rank = dim if rank is None else rank
    return rng.normal(size=(num, rank)) @ rng.normal(size=(rank, dim)) + shift


def by_sqrtm(a: np.ndarray, b: np.ndarray) -> float:
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(cov_a + cov_b) - 2 * np.trace(cross.real))


@pytest.mark.parametrize("dim", [1, 7, 64])
def test_agrees_with_the_sqrtm_formula_where_it_is_well_conditioned(dim: int) -> None:
    a, b = embeddings(500, dim, 0), embeddings(400, dim, 1, shift=0.3)
    got = frechet_distance(GaussianStatistics.of(a), GaussianStatistics.of(b))
    assert got == pytest.approx(by_sqrtm(a, b) if dim > 1 else by_sqrtm_1d(a, b), rel=1e-6)


def by_sqrtm_1d(a: np.ndarray, b: np.ndarray) -> float:
    return float((a.mean() - b.mean()) ** 2 + (a.std(ddof=1) - b.std(ddof=1)) ** 2)


def test_gaussians_of_one_covariance_differ_by_their_means() -> None:
    a = embeddings(300, 8, 0)
    shift = np.arange(8) / 8
    assert frechet_distance(GaussianStatistics.of(a), GaussianStatistics.of(a + shift)) == pytest.approx(
        np.square(shift).sum(), rel=1e-9
    )


@pytest.mark.parametrize(("num", "rank"), [(500, None), (20, None), (500, 3), (2, None)])
def test_singular_covariances_give_a_real_symmetric_distance(num: int, rank: int | None) -> None:
    a = GaussianStatistics.of(embeddings(num, 64, 0, rank=rank))
    b = GaussianStatistics.of(embeddings(num, 64, 1, shift=0.1, rank=rank))
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert np.isfinite(there)
    assert there > 0.5
    assert there == pytest.approx(back, rel=1e-9)
    assert frechet_distance(a, a) <= 1e-9 * np.trace(a.covariance)


def test_constant_embeddings_have_a_distance() -> None:
    a, b = GaussianStatistics.of(np.ones((5, 4))), GaussianStatistics.of(np.zeros((5, 4)))
    assert frechet_distance(a, b) == pytest.approx(4.0)


def test_pieces_in_any_order_give_the_whole() -> None:
    values = embeddings(97, 5, 0, shift=1e4)  # a large mean, where naive sums of squares lose their digits
    whole = GaussianStatistics.of(values)
    np.testing.assert_allclose(whole.mean, values.mean(0))
    np.testing.assert_allclose(whole.covariance, np.cov(values, rowvar=False), rtol=1e-9)
    pieces = GaussianStatistics.empty(5)
    for piece in np.array_split(values[::-1], 10):
        pieces.update(piece)
    pieces.update(np.zeros((0, 5)))
    merged = GaussianStatistics.of(values[:30])
    merged.merge(GaussianStatistics.of(values[30:]))
    merged.merge(GaussianStatistics.empty(5))
    for other in (pieces, merged):
        assert other.num == 97
        np.testing.assert_allclose(other.mean, whole.mean, rtol=1e-12)
        np.testing.assert_allclose(other.scatter, whole.scatter, rtol=1e-9, atol=1e-9)


def test_saved_statistics_are_the_same_and_know_who_made_them(tmp_path: Path) -> None:
    stats = GaussianStatistics.of(embeddings(30, 4, 0).astype(np.float32), CARD)
    stats.save(tmp_path / "a.safetensors")
    back = GaussianStatistics.load(tmp_path / "a.safetensors")
    assert (back.num, back.identity) == (30, CARD)
    np.testing.assert_array_equal(back.mean, stats.mean)
    np.testing.assert_array_equal(back.scatter, stats.scatter)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_statistics_of_different_embedders_are_not_compared() -> None:
    a = GaussianStatistics.of(embeddings(30, 4, 0), CARD)
    b = GaussianStatistics.of(embeddings(30, 4, 1), {**CARD, "weights_sha256": "ff"})
    with pytest.raises(MismatchError, match="weights_sha256 is '00' and 'ff'"):
        frechet_distance(a, b)
    with pytest.raises(MismatchError, match="embedder"):
        a.merge(GaussianStatistics.of(embeddings(30, 4, 1)))
    with pytest.raises(MismatchError, match="width 4"):
        frechet_distance(a, GaussianStatistics.of(embeddings(30, 5, 1), CARD))


def test_bad_embeddings_are_refused() -> None:
    stats = GaussianStatistics.empty(3)
    with pytest.raises(ValueError, match="NaN"):
        stats.update(np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match=r"\[n, 3\]"):
        stats.update(np.zeros((2, 4)))
    with pytest.raises(ValueError, match=r"\[n, D\]"):
        stats.update(np.zeros(3))
    stats.update(np.zeros((1, 3)))
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(stats, stats)


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    with pytest.raises(CheckpointError, match="no saved statistics"):
        GaussianStatistics.load(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(CheckpointError, match="not a readable"):
        GaussianStatistics.load(tmp_path / "cut.safetensors")
    save_file({"mean": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="does not hold statistics"):
        GaussianStatistics.load(tmp_path / "other.safetensors")
