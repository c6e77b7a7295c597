import numpy as np
import pytest
import scipy.linalg

from latentune.pipelines.measure.metrics import GaussianStatistics, frechet_distance, root_trace


def covariance(dim: int, seed: int, smallest: float = 0.1, rank: int | None = None) -> np.ndarray:
    """A covariance with variances from 1 down to `smallest`, the last dim - rank at 0."""
    rng = np.random.default_rng(seed)
    vectors, _ = np.linalg.qr(rng.normal(size=(dim, dim)))
    variances = np.geomspace(1.0, smallest, dim) * (np.arange(dim) < (dim if rank is None else rank))
    product = (vectors * variances) @ vectors.T
    return (product + product.T) / 2


@pytest.mark.parametrize("dim", [1, 2, 33, 128])
def test_well_conditioned_covariances_agree_with_sqrtm(dim: int) -> None:
    a, b = covariance(dim, 0), covariance(dim, 1)
    assert root_trace.root_trace(a, b) == pytest.approx(np.trace(scipy.linalg.sqrtm(a @ b)).real, rel=1e-10)


def test_covariances_that_share_axes_have_a_closed_form() -> None:
    vectors, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(40, 40)))
    first, second = np.geomspace(1, 1e-3, 40), np.geomspace(1e-2, 2, 40)
    first[10:20] = 0.0
    a, b = (vectors * first) @ vectors.T, (vectors * second) @ vectors.T
    assert root_trace.root_trace((a + a.T) / 2, (b + b.T) / 2) == pytest.approx(np.sqrt(first * second).sum(), rel=1e-6)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("smallest", "other", "singular"),
    [(1e-2, 1e-2, 0), (1e-6, 1e-6, 0), (1e-8, 1.0, 0), (1e-10, 1e-10, 0), (1e-14, 1.0, 0), (1e-4, 1e-4, 20)],
)
def test_nearly_singular_covariances_keep_their_digits(
    smallest: float, other: float, singular: int, turned: bool
) -> None:
    """Against the closed form of shared axes; the covariances' own rounding is that of their largest variance."""
    vectors, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(96, 96)))
    first, second = np.geomspace(1, smallest, 96), np.geomspace(1, other, 96)
    first[96 - singular :] = 0.0
    second = second[::-1] if turned else second
    a, b = ((vectors * variances) @ vectors.T for variances in (first, second))
    got = root_trace.root_trace((a + a.T) / 2, (b + b.T) / 2)
    assert got == pytest.approx(np.sqrt(first * second).sum(), abs=1e-7 * np.sqrt(first.sum() * second.sum()))
    if not singular and min(smallest, other) > 1e-8:
        assert got == pytest.approx(np.sqrt(first * second).sum(), rel=1e-11)


def test_a_known_rank_spares_the_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    a, b = (side - side.mean(1, keepdims=True) for side in rng.normal(size=(2, 64, 20)))
    expected = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    assert root_trace.factors_trace(a, b) == pytest.approx(expected, rel=1e-12)
    monkeypatch.setattr(np.linalg, "svd", lambda *_, **__: pytest.fail("took the slow way"))
    assert root_trace.factors_trace(a, b, rank=19) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-6])
def test_both_ways_give_one_value(smallest: float, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = covariance(96, 0, smallest), covariance(96, 1, smallest)
    with monkeypatch.context() as patch:
        patch.setattr(root_trace, "ACCURACY", np.inf)
        patch.setattr(root_trace, "factors_trace", lambda a, b: pytest.fail("took the slow way"))
        fast = root_trace.root_trace(a, b)
    monkeypatch.setattr(root_trace, "ACCURACY", 0.0)
    assert root_trace.root_trace(a, b) == pytest.approx(fast, rel=1e-9)


def test_a_well_conditioned_pair_needs_no_singular_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(root_trace, "factors_trace", lambda a, b: pytest.fail("took the slow way"))
    assert root_trace.root_trace(covariance(64, 0), covariance(64, 1)) > 0


@pytest.mark.parametrize("rank", [0, 1, 7, 32])
def test_a_factor_gives_the_covariance_back_at_its_rank(rank: int) -> None:
    whole = covariance(32, 3, rank=rank)
    factor = root_trace.factor(whole)
    assert factor.shape == (32, rank)
    np.testing.assert_allclose(factor @ factor.T, whole, atol=1e-14)


def test_one_singular_side_agrees_with_the_root_of_the_other() -> None:
    a, b = covariance(48, 0, rank=5), covariance(48, 1)
    half = scipy.linalg.sqrtm(b).real
    expected = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ a @ half), 0)).sum()
    assert root_trace.root_trace(a, b) == pytest.approx(expected, rel=1e-6)
    assert root_trace.root_trace(b, a) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("num", [3, 20, 64, 65])
def test_fewer_embeddings_than_dimensions_give_the_distance_of_their_span(num: int) -> None:
    """Both sets rotated into few of many dimensions: the empty dimensions change nothing."""
    rng = np.random.default_rng(num)
    small = rng.normal(size=(num, 2)), rng.normal(size=(num, 2)) * 2 + 1
    rotation, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    large = [np.pad(side, ((0, 0), (0, 62))) @ rotation for side in small]
    there, back = frechet_distance(*large), frechet_distance(*large[::-1])
    assert there == pytest.approx(frechet_distance(*small), rel=1e-6)
    assert there == pytest.approx(back, rel=1e-6)
    assert frechet_distance(large[0], large[0]) <= 1e-9 * np.trace(GaussianStatistics.of(large[0]).covariance)
