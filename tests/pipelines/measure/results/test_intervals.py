import numpy as np
import pytest
import scipy.stats

from latentune.pipelines.measure.metrics import frechet_distance
from latentune.pipelines.measure.results import bootstrap_interval, paired_bootstrap


def numbers(num: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=num) + shift


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = numbers(40, 0)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=500, batch=500, method="percentile", random_state=np.random.default_rng(7)
    ).confidence_interval
    ours = bootstrap_interval(values, num_resamples=500, seed=7)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert ours.value == pytest.approx(values.mean())
    assert (ours.num_files, ours.num_resamples, ours.confidence) == (40, 500, 0.95)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    runs = [bootstrap_interval(numbers(40, seed), num_resamples=200, confidence=0.8) for seed in range(120)]
    share = np.mean([run.low <= 0.0 <= run.high for run in runs])
    assert 0.68 < share < 0.9  # 0.8, three standard errors and a small sample's bias around it


def test_one_seed_gives_one_interval_whatever_the_order_of_a_mapping() -> None:
    files = {f"{place:02d}": value for place, value in enumerate(numbers(10, 0))}
    turned = dict(reversed(files.items()))
    assert bootstrap_interval(files) == bootstrap_interval(turned) == bootstrap_interval(list(files.values()))
    assert bootstrap_interval(files) != bootstrap_interval(files, seed=1)
    wide, narrow = bootstrap_interval(files, confidence=0.99), bootstrap_interval(files, confidence=0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_files_of_several_windows_are_drawn_whole() -> None:
    files = [np.full((3, 1), float(place)) for place in range(5)]

    def statistic(drawn: list[np.ndarray]) -> float:
        assert [len(windows) for windows in drawn] == [3] * 5
        assert all((windows == windows[0]).all() for windows in drawn)
        return float(np.concatenate(drawn).mean())

    assert bootstrap_interval(files, statistic, num_resamples=50).value == 2.0


def test_a_distance_that_grows_on_repeated_files_is_centred_on_its_value() -> None:
    rng = np.random.default_rng(0)
    reference, files = rng.normal(size=(500, 6)), [rng.normal(size=(2, 6)) for _ in range(25)]

    def statistic(drawn: list[np.ndarray]) -> float:
        return frechet_distance(reference, np.concatenate(drawn))

    plain = bootstrap_interval(files, statistic, num_resamples=100)
    centred = bootstrap_interval(files, statistic, num_resamples=100, centre=True)
    assert plain.bias > 0.2 * plain.value
    assert plain.low > plain.value  # why centre exists
    assert centred.low < centred.value < centred.high
    assert centred.high - centred.low == pytest.approx(plain.high - plain.low)


def test_a_centred_interval_stays_within_bounds_and_holds_its_value() -> None:
    nearly_all = np.array([1.0] * 39 + [0.0])  # most resamples leave a few of the ones out
    plain = bootstrap_interval(nearly_all, np.min, num_resamples=400, centre=True)
    assert plain.value == 0.0
    assert plain.low < 0.0 < plain.high
    for bounds in ((0.0, 1.0), (0.0, np.inf), (-np.inf, 0.0)):
        cut = bootstrap_interval(nearly_all, np.min, num_resamples=400, centre=True, bounds=bounds)
        assert (cut.low, cut.high) == (max(plain.low, bounds[0]), min(plain.high, bounds[1]))
    rare = np.array([0.0] * 5)
    calls = iter([1.0, *[1.0] * 99, 0.9])  # of the files as they are, then of resamples, whose mean is below 99 of 100
    skewed = bootstrap_interval(rare, lambda drawn: next(calls), num_resamples=100, centre=True)
    assert skewed.low == 1.0
    assert skewed.high == pytest.approx(1.001)
    first, other = nearly_all, nearly_all[::-1]
    difference = paired_bootstrap(first, other, np.max, num_resamples=50, centre=True, bounds=(-1.0, 1.0))
    assert -1.0 <= difference.low <= difference.value <= difference.high <= 1.0


def test_a_difference_on_the_same_files_is_seen_where_intervals_overlap() -> None:
    a = numbers(30, 0) * 5
    b = a + 0.2 + 0.1 * numbers(30, 1)
    one, other = bootstrap_interval(a), bootstrap_interval(b)
    assert one.high > other.low
    result = paired_bootstrap(a, b)
    assert result.value == pytest.approx(np.mean(b - a))
    assert 0 < result.low < result.value < result.high
    assert result.p_value == pytest.approx(2 / 1001)
    back = paired_bootstrap(b, a)
    assert (back.low, back.high) == pytest.approx((-result.high, -result.low))
    names = [f"{place:02d}" for place in range(30)]
    by_name = paired_bootstrap(dict(zip(names, a, strict=True)), dict(reversed(list(zip(names, b, strict=True)))))
    assert by_name == result


def test_equal_systems_do_not_differ() -> None:
    a = numbers(20, 0)
    same = paired_bootstrap(a, a)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("centre", [False, True])
def test_p_values_of_no_difference_are_spread_evenly(centre: bool) -> None:
    values = [
        paired_bootstrap(numbers(40, 2 * s), numbers(40, 2 * s + 1), num_resamples=200, centre=centre).p_value
        for s in range(100)
    ]
    assert np.mean(np.array(values) < 0.1) < 0.2
    assert 0.35 < np.mean(values) < 0.65


def test_subsets_give_the_interval_of_a_mean_without_drawing_a_file_twice() -> None:
    values = numbers(41, 0)

    def statistic(drawn: np.ndarray) -> float:
        assert len(set(drawn.tolist())) == len(drawn)
        return float(drawn.mean())

    subsets = bootstrap_interval(values, statistic, num_resamples=2000, subsets=True, centre=True)
    whole = bootstrap_interval(values, num_resamples=2000, centre=True)
    assert subsets.value == whole.value
    assert subsets.high - subsets.low == pytest.approx(whole.high - whole.low, rel=0.1)
    better = paired_bootstrap(values, values + 1.0 + 0.1 * numbers(41, 1), statistic, subsets=True)
    assert 0.9 < better.low < better.high < 1.1
    assert better.p_value == pytest.approx(2 / 1001)


def test_bad_bootstraps_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 files, there are 1"):
        bootstrap_interval([1.0])
    with pytest.raises(ValueError, match="num_resamples must be at least 20"):
        bootstrap_interval([1.0, 2.0], num_resamples=5)
    with pytest.raises(ValueError, match="confidence"):
        bootstrap_interval([1.0, 2.0], confidence=95)
    with pytest.raises(ValueError, match="gave nan"):
        bootstrap_interval([1.0, np.nan])
    with pytest.raises(ValueError, match="b lacks 1 files of the other side: y"):
        paired_bootstrap({"x": 1.0, "y": 2.0}, {"x": 1.0})
    with pytest.raises(ValueError, match="a lacks 1 files"):
        paired_bootstrap([1.0, 2.0], [1.0, 2.0, 3.0])
