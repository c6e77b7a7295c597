import numpy as np
import pytest

from latentune.core.errors import MismatchError
from latentune.pipelines.measure.metrics import GaussianStatistics, frechet_distance, frechet_infinity, frechet_per_file

DIM = 12
TRUE = DIM * 0.1**2  # N(0, I) against N(0.1, I)


def embeddings(num: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, DIM)) + shift


def test_the_extrapolated_distance_has_no_bias_of_sample_size() -> None:
    """Against a reference without error, the mean over seeds is near the closed form; the plain distance is not."""
    reference = GaussianStatistics(mean=np.zeros(DIM), scatter=np.eye(DIM) * 10**9, num=10**9 + 1)
    runs = [(embeddings(400, seed, 0.1), seed) for seed in range(12)]
    plain = np.mean([frechet_distance(reference, values) for values, _ in runs])
    without = np.mean([frechet_infinity(reference, values, seed=seed).value for values, seed in runs])
    resampled = np.mean([frechet_infinity(reference, values, replace=True, seed=seed).value for values, seed in runs])
    assert plain - TRUE > 0.06
    assert abs(without - TRUE) < 0.02
    assert abs(resampled - plain) < 0.03  # with replacement the bias of all that there is stays


def test_it_says_how_well_the_line_fits_and_repeats_itself() -> None:
    reference, values = embeddings(2000, 0), embeddings(600, 1, 0.1)
    first = frechet_infinity(reference, values, seed=3)
    assert first == frechet_infinity(GaussianStatistics.of(reference), values, seed=3)
    assert first != frechet_infinity(reference, values, seed=4)
    sizes = [size for size, _ in first.points]
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1], len(sizes)) == (300, 600, 25)
    assert first.points[-1][1] == pytest.approx(frechet_distance(reference, values), rel=1e-9)
    assert first.slope > 0
    assert 0 < first.r_squared < 1
    inverse = np.array([1 / size for size in sizes])
    correlation = np.corrcoef(inverse, [distance for _, distance in first.points])[0, 1]
    assert first.r_squared == pytest.approx(correlation**2, rel=1e-6)


def test_embeddings_may_be_there_several_times() -> None:
    reference, values = embeddings(500, 0), embeddings(40, 1, 0.1)
    times = np.random.default_rng(0).integers(0, 3, 40)
    got = frechet_infinity(reference, values, times=times, num_sizes=4)
    assert got.points[-1][0] == times.sum()
    repeated = np.repeat(values, times, axis=0)
    assert got.points[-1][1] == pytest.approx(frechet_distance(reference, repeated), rel=1e-9)
    assert got.value == pytest.approx(frechet_infinity(reference, repeated, num_sizes=4).value, rel=1e-6)


def test_bad_sizes_are_refused() -> None:
    reference = embeddings(100, 0)
    with pytest.raises(ValueError, match="at least 8"):
        frechet_infinity(reference, reference[:7])
    for options in ({"min_size": 1}, {"min_size": 100}, {"num_sizes": 1}):
        with pytest.raises(ValueError, match=r"min_size must be in 2\.\.99"):
            frechet_infinity(reference, reference, **options)


@pytest.mark.parametrize("rank", [DIM, 3])
def test_each_file_has_the_distance_of_its_windows(rank: int) -> None:
    keep = np.arange(DIM) < rank
    reference = embeddings(200, 0) * keep
    files = [embeddings(num, num) * 2 for num in (2, 5, 40, 1)]
    found = frechet_per_file(reference, files)
    assert len(found) == 4
    for distance, file in zip(found[:3], files[:3], strict=True):
        assert distance == pytest.approx(frechet_distance(reference, file), rel=1e-6)


def test_a_file_of_one_window_is_a_point() -> None:
    reference = GaussianStatistics.of(embeddings(200, 0))
    point = embeddings(1, 5)
    expected = np.square(point[0] - reference.mean).sum() + np.trace(reference.covariance)
    assert frechet_per_file(reference, [point])[0] == pytest.approx(expected, rel=1e-9)


def test_no_files_and_other_widths_are_refused() -> None:
    reference = embeddings(20, 0)
    with pytest.raises(ValueError, match="no file"):
        frechet_per_file(reference, [])
    with pytest.raises(MismatchError, match="width"):
        frechet_per_file(reference, [np.zeros((3, DIM + 1))])
