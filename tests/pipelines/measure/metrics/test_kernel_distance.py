import numpy as np
import pytest

from latentune.pipelines.measure.metrics import (
    FileKernelDistance,
    kernel,
    kernel_audio_distance,
    kernel_distance,
    median_distance,
)
from latentune.pipelines.measure.metrics.kernel import reference_bandwidth


def embeddings(num: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, dim)) + shift


def brute(x: np.ndarray, y: np.ndarray, function) -> float:  # type: ignore[no-untyped-def]
    """Equation 3 of Gretton et al. 2012, one pair at a time."""
    within = [np.mean([function(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if i != j]) for s in (x, y)]
    return float(sum(within) - 2 * np.mean([function(a, b) for a in x for b in y]))


def test_the_gaussian_distance_is_that_of_all_pairs() -> None:
    x, y = embeddings(25, 4, 0), embeddings(17, 4, 1, 0.5)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(x) for b in x[:i]]
    width = np.sort(distances)[(len(distances) - 1) // 2]
    assert median_distance(x) == pytest.approx(width, rel=1e-12)
    expected = brute(x, y, lambda a, b: np.exp(-np.square(a - b).sum() / (2 * width**2)))
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-10)
    assert kernel_audio_distance(x, y) == pytest.approx(100 * expected, rel=1e-10)


@pytest.mark.parametrize("degree", [1, 3])
def test_the_polynomial_distance_is_that_of_all_pairs(degree: int) -> None:
    x, y = embeddings(25, 4, 0), embeddings(17, 4, 1, 0.5)
    expected = brute(x, y, lambda a, b: (a @ b / 4 + 1) ** degree)
    assert kernel_distance(x, y, kernel="polynomial", degree=degree) == pytest.approx(expected, rel=1e-10)


def test_shifted_gaussians_have_a_closed_form() -> None:
    """E k(a, b) of N(0, I) and N(m, I) is (w^2 / (w^2 + 2))^(D/2) exp(-|m|^2 / (2 (w^2 + 2)))."""
    dim, width, shift = 3, 1.5, 0.6
    base = (width**2 / (width**2 + 2)) ** (dim / 2)
    expected = 2 * base * (1 - np.exp(-dim * shift**2 / (2 * (width**2 + 2))))
    got = kernel_distance(embeddings(1500, dim, 0), embeddings(1500, dim, 1, shift), bandwidth=width)
    assert got == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("num", [10, 60])
def test_there_is_no_bias_of_sample_size(num: int) -> None:
    values = [kernel_distance(embeddings(num, 3, 2 * s), embeddings(num, 3, 2 * s + 1), bandwidth=1) for s in range(80)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(80)
    assert min(values) < 0  # unbiased: of one distribution it lies on both sides of 0


@pytest.mark.parametrize("num", [2, 3, 60, 61])
def test_the_median_in_little_memory_is_the_median(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = embeddings(num, 3, num, shift=50.0)
    whole = median_distance(values)
    monkeypatch.setattr(kernel, "PAIRS_AT_ONCE", 4)
    assert median_distance(values) == pytest.approx(whole, rel=1e-12)


def test_many_pairs_at_one_distance_have_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "PAIRS_AT_ONCE", 4)
    assert median_distance(np.repeat([[0.0], [1.0]], 20, axis=0)) == pytest.approx(1.0, abs=1e-9)  # 400 of 780 pairs
    assert median_distance(np.ones((20, 2))) == 0.0


def test_files_measured_again_and_again_are_their_windows_together() -> None:
    reference = embeddings(30, 4, 0)
    files = [embeddings(num, 4, num, 0.3) for num in (1, 3, 5, 12)]
    for options in ({}, {"kernel": "polynomial"}, {"bandwidth": 0.7}):
        fast = FileKernelDistance(reference, files, **options)  # type: ignore[arg-type]
        for places in ([0, 1, 2, 3], [2, 2, 0], [1, 1]):
            drawn = np.concatenate([files[place] for place in places])
            expected = kernel_distance(reference, drawn, **options)  # type: ignore[arg-type]
            assert fast(places) == pytest.approx(expected, rel=1e-9)
    assert FileKernelDistance(reference, files)(range(4)) == pytest.approx(
        kernel_distance(reference, np.concatenate(files)), rel=1e-9
    )
    with pytest.raises(ValueError, match="fewer than 2 windows"):
        FileKernelDistance(reference, files)([0])


def test_bad_kernels_are_refused() -> None:
    x = embeddings(10, 2, 0)
    with pytest.raises(ValueError, match="kernel must be"):
        kernel_distance(x, x, kernel="cubic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no bandwidth"):
        kernel_distance(x, x, kernel="polynomial", bandwidth=1.0)
    with pytest.raises(ValueError, match="degree must be at least 1"):
        kernel_distance(x, x, kernel="polynomial", degree=0)
    for width in (0.0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match="bandwidth must be above 0"):
            kernel_distance(x, x, bandwidth=width)
    with pytest.raises(ValueError, match="are equal"):
        kernel_distance(np.ones((10, 2)), x)
    with pytest.raises(ValueError, match="are equal"):
        reference_bandwidth(np.ones((10, 2)))
    with pytest.raises(ValueError, match="at least 2"):
        median_distance(x[:1])
