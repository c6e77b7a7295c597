from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import scipy.stats
from plain_bootstrap import plain_bootstrap

from latentune.pipelines.measure.metrics import frechet_distance
from latentune.pipelines.measure.results import Difference, Resampling, Sample, difference, interval
from latentune.pipelines.measure.results.intervals import percentiles
from latentune.pipelines.measure.results.means import mean_sample


def numbers(num: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=num) + shift


def means(values: Sequence[float] | np.ndarray) -> Sample:
    return mean_sample([f"{place:02d}" for place in range(len(values))], np.array(values), np.ones(len(values)))


def of_set(files: Sequence[Any], statistic: Callable[[list[Any]], float], **options: Any) -> Sample:
    """A figure of a list of files."""
    value = float(statistic(list(files)))
    names = [f"{place:02d}" for place in range(len(files))]
    return Sample(
        names=names,
        value=value,
        of_files=lambda places: statistic([files[place] for place in places]),
        of_set=True,
        **options,
    )


def run(first: Sample, other: Sample, num: int = 1000, centre: bool = False) -> Difference:
    return difference(first, other, Resampling(num_resamples=num, num_set_resamples=num, centre=centre))


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    values = numbers(40, 0)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=500, batch=500, method="percentile", random_state=np.random.default_rng(7)
    ).confidence_interval
    sample = means(values)
    ours = interval(sample, Resampling(num_resamples=500, seed=7))
    assert ours == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    assert ours == pytest.approx(plain_bootstrap(values, num_resamples=500, seed=7), rel=1e-12)
    assert sample.value == pytest.approx(values.mean())


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    resampling = Resampling(num_resamples=200, confidence=0.8)
    runs = [interval(means(numbers(40, seed)), resampling) for seed in range(120)]
    share = np.mean([low <= 0.0 <= high for low, high in runs])
    assert 0.68 < share < 0.9  # 0.8, three standard errors and a small sample's bias around it


def test_one_seed_gives_one_interval() -> None:
    sample = means(numbers(10, 0))
    assert interval(sample, Resampling()) == interval(sample, Resampling())
    assert interval(sample, Resampling()) != interval(sample, Resampling(seed=1))
    wide, narrow = (interval(sample, Resampling(confidence=share)) for share in (0.99, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_files_of_several_windows_are_drawn_whole() -> None:
    files = [np.full((3, 1), float(place)) for place in range(5)]

    def statistic(drawn: list[np.ndarray]) -> float:
        assert [len(windows) for windows in drawn] == [3] * 5
        assert all((windows == windows[0]).all() for windows in drawn)
        return float(np.concatenate(drawn).mean())

    sample = of_set(files, statistic)
    assert sample.value == 2.0
    low, high = interval(sample, Resampling(num_set_resamples=50))
    assert low < 2.0 < high


def test_a_distance_that_grows_on_repeated_files_is_centred_on_its_value() -> None:
    rng = np.random.default_rng(0)
    reference, files = rng.normal(size=(500, 6)), [rng.normal(size=(2, 6)) for _ in range(25)]
    sample = of_set(files, lambda drawn: frechet_distance(reference, np.concatenate(drawn)))
    resampling = Resampling(num_set_resamples=100)
    drawn = sample.draw(resampling, 0)
    plain, centred = percentiles(drawn, 0.95), interval(sample, resampling)
    assert drawn.mean() - sample.value > 0.2 * sample.value
    assert plain[0] > sample.value  # why intervals are centred
    assert centred[0] < sample.value < centred[1]
    assert centred[1] - centred[0] == pytest.approx(plain[1] - plain[0])
    expected = plain_bootstrap(
        files, lambda drawn: frechet_distance(reference, np.concatenate(drawn)), num_resamples=100, centre=True
    )
    assert centred == pytest.approx(expected, rel=1e-9)


def test_a_centred_interval_stays_within_bounds_and_holds_its_value() -> None:
    nearly_all = [1.0] * 39 + [0.0]  # most resamples leave a few of the ones out
    resampling = Resampling(num_set_resamples=400)
    sample = of_set(nearly_all, min)
    plain = interval(sample, resampling)
    assert sample.value == 0.0
    assert plain[0] < 0.0 < plain[1]
    for bounds in ((0.0, 1.0), (0.0, np.inf), (-np.inf, 0.0)):
        cut = interval(of_set(nearly_all, min, bounds=bounds), resampling)
        assert cut == (max(plain[0], bounds[0]), min(plain[1], bounds[1]))
    # of the files as they are, then of resamples, whose mean is below 99 of 100
    calls = iter([1.0, *[1.0] * 99, 0.9])
    skewed = Sample(
        names=list("abcde"),
        value=next(calls),
        of_files=lambda places, rng: np.array([next(calls) for _ in places]),
        vectorized=True,
    )
    low, high = interval(skewed, Resampling(num_resamples=100, centre=True))
    assert low == 1.0
    assert high == pytest.approx(1.001)
    first, other = (of_set(values, max, bounds=(0.0, 1.0)) for values in (nearly_all, nearly_all[::-1]))
    found = run(first, other, 50)
    assert found.low is not None
    assert -1.0 <= found.low <= found.value <= found.high <= 1.0  # type: ignore[operator]


def test_a_difference_on_the_same_files_is_seen_where_intervals_overlap() -> None:
    a = numbers(30, 0) * 5
    b = a + 0.2 + 0.1 * numbers(30, 1)
    assert interval(means(a), Resampling())[1] > interval(means(b), Resampling())[0]
    result = run(means(a), means(b))
    assert result.paired
    assert result.value == pytest.approx(np.mean(b - a))
    assert 0 < result.low < result.value < result.high  # type: ignore[operator]
    assert (result.low, result.high) == pytest.approx(plain_bootstrap(b - a), rel=1e-9)
    assert result.p_value == pytest.approx(2 / 1001)
    back = run(means(b), means(a))
    assert (back.low, back.high) == pytest.approx((-result.high, -result.low))  # type: ignore[operator]
    turned = mean_sample(list(reversed(means(b).names)), b[::-1], np.ones(30))
    by_name = run(means(a), turned)
    assert (by_name.low, by_name.high, by_name.p_value) == pytest.approx((result.low, result.high, result.p_value))


def test_equal_systems_do_not_differ() -> None:
    a = means(numbers(20, 0))
    same = run(a, a)
    assert (same.value, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("centre", [False, True])
def test_p_values_of_no_difference_are_spread_evenly(centre: bool) -> None:
    values = [run(means(numbers(40, 2 * s)), means(numbers(40, 2 * s + 1)), 200, centre).p_value for s in range(100)]
    assert np.mean(np.array(values) < 0.1) < 0.2
    assert 0.35 < np.mean(values) < 0.65  # type: ignore[arg-type]


def test_subsets_give_the_interval_of_a_mean_without_drawing_a_file_twice() -> None:
    values = numbers(41, 0).tolist()

    def statistic(drawn: list[float]) -> float:
        assert len(set(drawn)) == len(drawn)
        return float(np.mean(drawn))

    resampling = Resampling(num_set_resamples=2000, num_resamples=2000, centre=True)
    subsets, whole = interval(of_set(values, statistic, subsets=True), resampling), interval(means(values), resampling)
    assert subsets[1] - subsets[0] == pytest.approx(whole[1] - whole[0], rel=0.1)
    better = (np.array(values) + 1.0 + 0.1 * numbers(41, 1)).tolist()
    found = run(of_set(values, statistic, subsets=True), of_set(better, statistic, subsets=True))
    assert 0.9 < found.low < found.high < 1.1  # type: ignore[operator]
    assert found.p_value == pytest.approx(2 / 1001)


def test_a_choice_of_files_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match="no finite value"):
        interval(means([1.0, np.nan]), Resampling())
