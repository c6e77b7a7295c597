"""How certain a figure is: bootstrap over files (Efron and Tibshirani 1993), for any statistic of a set of files.

`scipy.stats.bootstrap` draws the files: their indices, not windows, since windows of one file are alike and intervals
over them would be too narrow. The centring of intervals is our own. Statistics for which a repeated file makes a
different quantity, such as those of nearest neighbours, are computed on two thirds of the files without replacement
(`subsets`). Such values of b of F files vary less about their mean than the values of F other files would, by the root
of b / (F - b) (the delete-d jackknife, Shao and Wu 1989), and are stretched accordingly.

Shape letters: F files, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pairing import pair_names

Array = NDArray[Any]
Statistic = Callable[[Any], float]  # of the drawn files' values: an array of numbers, or a list of arrays [W, D]
Bounds = tuple[float, float]  # lowest and highest value that a statistic can take
UNBOUNDED: Bounds = (-np.inf, np.inf)
MIN_RESAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and where it would lie for other files of the same kind."""

    value: float  # of the files as they are
    low: float
    high: float
    confidence: float
    bias: float  # mean over resamples minus `value`; far from 0 for statistics that grow on repeated files
    num_files: int
    num_resamples: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference(Interval):
    """The figure of system `b` minus that of `a` on the same files."""

    p_value: float  # two-sided; below 1 - confidence roughly where the interval excludes 0


def mean(values: Any) -> float:
    """The mean of one number per file."""
    return float(np.mean(values))


def bootstrap_interval(
    files: Mapping[str, Any] | Sequence[Any],
    statistic: Statistic = mean,
    *,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    centre: bool = False,
    bounds: Bounds = UNBOUNDED,
    subsets: bool = False,
    seed: int = 0,
) -> Interval:
    """Computes the percentile interval of a statistic over files drawn with replacement.

    Args:
        files: one value per file, a number or an array; a mapping is taken in order of name.
        statistic: called with the drawn values (numbers as an array, otherwise a list), such as
            `lambda drawn: frechet_distance(reference, np.concatenate(drawn))`.
        num_resamples: how many times files are drawn.
        confidence: share of resamples inside the interval, between 0 and 1.
        centre: move the interval by `-bias`. A resample holds some files twice and others not at all, which raises the
            Fréchet and kernel distances: their plain percentile intervals lie too high and may exclude the value.
            A centred interval always includes it.
        bounds: of the statistic; a moved interval that would reach beyond them is cut there.
        subsets: draw two thirds of the files, none twice. Use it with `centre`, since many statistics depend on the
            number of files.
        seed: of the draws.

    Returns:
        The value of all files with its interval.

    Raises:
        ValueError: fewer than two files, fewer than 20 resamples, a confidence outside 0..1, or a statistic that is
            not finite.
    """
    values = _values(files, sorted(files) if isinstance(files, Mapping) else [])
    _check(len(values), num_resamples, confidence)
    value = _measure(statistic, values, np.arange(len(values)))
    resampled = resample(
        lambda places: _measure(statistic, values, places), len(values), num_resamples, subsets=subsets, seed=seed
    )
    return Interval(**_summary(value, resampled, confidence, centre, bounds, len(values)))


def paired_bootstrap(
    a: Mapping[str, Any] | Sequence[Any],
    b: Mapping[str, Any] | Sequence[Any],
    statistic: Statistic = mean,
    *,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    centre: bool = False,
    bounds: Bounds = UNBOUNDED,
    subsets: bool = False,
    seed: int = 0,
) -> PairedDifference:
    """Computes whether system `b` differs from `a`: both are measured on the same drawn files in every resample.

    Args:
        a, b: one value per file each, in one order or by name.
        statistic, num_resamples, confidence, centre, subsets, seed: as in `bootstrap_interval`.
        bounds: of the difference.

    Returns:
        The difference with its interval and the p-value of `p_value`, which is 1 for equal systems.

    Raises:
        ValueError: as `bootstrap_interval`; names that only one system has, which are listed, or unequal numbers.
    """
    names = paired_names(a, b, ("a", "b"))
    one, two = _values(a, [name for name, _ in names]), _values(b, [name for _, name in names])
    _check(len(names), num_resamples, confidence)

    def difference(places: Array) -> float:
        return _measure(statistic, two, places) - _measure(statistic, one, places)

    value = difference(np.arange(len(names)))
    resampled = resample(difference, len(names), num_resamples, subsets=subsets, seed=seed)
    summary = _summary(value, resampled, confidence, centre, bounds, len(names))
    moved = resampled - summary["bias"] if centre else resampled
    return PairedDifference(**summary, p_value=p_value(moved))


def resample(
    statistic: Callable[..., Any],
    num_files: int,
    num_resamples: int,
    *,
    subsets: bool = False,
    vectorized: bool = False,
    seed: int = 0,
) -> Array:
    """Computes a statistic of drawn places of files.

    Args:
        statistic: of places [F], or where `vectorized` of places [R, F] and the `numpy` generator that drew them, for
            statistics that draw something within each file as well.
        num_files: F; one file alone is drawn every time.
        num_resamples: R.
        subsets: draw two thirds of the files, none twice.
        vectorized: the statistic takes all resamples at once.
        seed: of the draws.

    Returns:
        The statistic of each resample, [R].
    """
    from scipy.stats import bootstrap

    rng = np.random.default_rng(seed)
    if subsets:
        size = max(1, 2 * num_files // 3)
        every = np.tile(np.arange(num_files), (num_resamples, 1))
        found = np.array([statistic(row) for row in rng.permuted(every, axis=1)[:, :size]])
        return np.asarray(found.mean() + (found - found.mean()) * np.sqrt(size / (num_files - size)))
    if num_files == 1:
        places = np.zeros((num_resamples, 1), np.int64)
        return np.asarray(statistic(places, rng) if vectorized else [statistic(row) for row in places])
    return np.asarray(
        bootstrap(
            (np.arange(num_files),),
            (lambda places, axis: statistic(places, rng)) if vectorized else statistic,
            n_resamples=num_resamples,
            batch=num_resamples,
            vectorized=vectorized,
            method="percentile",
            random_state=rng,
        ).bootstrap_distribution
    )


def p_value(resampled: Array) -> float:
    """The two-sided p-value of a difference of 0, from differences resampled about the measured one; never 0.

    Twice the smaller share of resamples on either side of 0, counting one more than there are (Davison and Hinkley
    1997).
    """
    least = min((resampled <= 0.0).sum(), (resampled >= 0.0).sum())
    return float(min(1.0, 2.0 * (least + 1) / (len(resampled) + 1)))


def centred_interval(
    value: float, resampled: Array, confidence: float, bounds: Bounds = UNBOUNDED
) -> tuple[float, float]:
    """The percentile interval of resamples moved so that their mean is `value`, cut to the bounds; it includes `value`.

    Where all but a few resamples are equal, as shares near 1 are, the mean lies outside of the percentiles.
    """
    low, high = (end - (resampled.mean() - value) for end in percentiles(resampled, confidence))
    return float(min(max(low, bounds[0]), value)), float(max(min(high, bounds[1]), value))


def percentiles(resampled: Array, confidence: float) -> tuple[float, float]:
    """The ends of the percentile interval of resamples [R]."""
    low, high = np.quantile(resampled, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)


def paired_names(
    a: Mapping[str, Any] | Sequence[Any],
    b: Mapping[str, Any] | Sequence[Any],
    labels: tuple[str, str] = ("reference", "generated"),
) -> list[tuple[str, str]]:
    """The names of counterparts, sorted; members of sequences are named by their place.

    Raises ValueError, listing them, where one side lacks files of the other.
    """
    names = [
        sorted(side) if isinstance(side, Mapping) else [f"{place:06d}" for place in range(len(side))] for side in (a, b)
    ]
    found = pair_names(*names)
    found.require_all(labels)
    return [(names[0][one], names[1][other]) for one, other in found.pairs]


def _check(num_files: int, num_resamples: int, confidence: float) -> None:
    if num_files < 2:
        raise ValueError(f"a bootstrap needs at least 2 files, there are {num_files}: give more")
    if num_resamples < MIN_RESAMPLES or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"num_resamples must be at least {MIN_RESAMPLES} and confidence between 0 and 1, got {num_resamples} and "
            f"{confidence}"
        )


def _values(files: Mapping[str, Any] | Sequence[Any], names: list[str]) -> Array | list[Any]:
    """The files' values, those of a mapping in the order of `names`; numbers as an array [F], which is drawn faster."""
    values = [files[name] for name in names] if isinstance(files, Mapping) else list(files)
    return np.array(values) if all(np.ndim(value) == 0 for value in values) else values


def _measure(statistic: Statistic, values: Array | list[Any], places: Array) -> float:
    drawn = values[places] if isinstance(values, np.ndarray) else [values[place] for place in places]
    number = float(statistic(drawn))
    if not np.isfinite(number):
        raise ValueError(f"the statistic gave {number} on some files: leave out the files that have no value")
    return number


def _summary(
    value: float, resampled: Array, confidence: float, centre: bool, bounds: Bounds, num_files: int
) -> dict[str, Any]:
    """The fields of an Interval."""
    ends = centred_interval(value, resampled, confidence, bounds) if centre else percentiles(resampled, confidence)
    return {
        "value": value,
        "low": ends[0],
        "high": ends[1],
        "confidence": confidence,
        "bias": float(resampled.mean() - value),
        "num_files": num_files,
        "num_resamples": len(resampled),
    }
