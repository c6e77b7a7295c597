"""How sure a figure is: bootstrap over files (Efron and Tibshirani 1993), for any statistic of a set of files.

Files are drawn, not windows: windows of one file are alike, and intervals over them would be too narrow. As many files
as there are, with replacement; or two thirds of them, without (`subsets`), for statistics that a repeated file makes
another thing, such as those of nearest neighbours. What b of F files give varies less about its mean than what other F
files would, by the root of b / (F - b) (the jackknife that leaves out several, Shao and Wu 1989), and is stretched.
`scipy.stats.bootstrap` is not used: it draws numbers, not files of several windows each, and has no test for two
systems on the same files; for plain numbers its percentile interval is the same, which is tested.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sets import pair_files

Statistic = Callable[[Any], float]  # of the drawn files' values: an array of numbers, or a list of arrays [W, D]
Bounds = tuple[float, float]  # lowest and highest value that a statistic can take
UNBOUNDED: Bounds = (-np.inf, np.inf)


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A figure and where it would lie for other files of the same kind."""

    value: float  # of the files as they are
    low: float
    high: float
    confidence: float
    bias: float  # mean over resamples less `value`; far from 0 for statistics that grow on repeated files
    num_files: int
    num_resamples: int


@dataclass(frozen=True, kw_only=True)
class PairedDifference(Interval):
    """The figure of system `b` less that of `a` on the same files."""

    p_value: float  # two-sided; below 1 - confidence about where the interval leaves out 0


def mean(values: Any) -> float:
    """The mean of one number a file."""
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
    """The percentile interval of a statistic over files drawn with replacement.

    Args:
        files: one value a file, a number or an array; a mapping is taken in order of name.
        statistic: called with the drawn values (numbers as an array, else a list), such as
            `lambda drawn: frechet_distance(reference, np.concatenate(drawn))`.
        centre: move the interval by `-bias`. A resample holds some files twice and others not at all, which raises the
            Fréchet and kernel distances: their plain percentile intervals lie too high and may leave out the value.
            A centred one always holds it.
        bounds: of the statistic, beyond which a moved interval would reach; it is cut there.
        subsets: draw two thirds of the files, none twice. Use it with `centre`, since many statistics depend on the
            number of files.

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
    """Whether system `b` differs from `a`: both are measured on the same drawn files, again and again.

    The p-value is that of `p_value`, 1 for equal systems.

    Args:
        a, b: one value a file each, in one order or by name; the rest as in `bootstrap_interval`.
        bounds: of the difference.

    Raises:
        ValueError: as `bootstrap_interval`; names that only one system has, which are listed, or unequal numbers.
    """
    names = pair_files(a, b, ("a", "b"))
    one, two = _values(a, names), _values(b, names)
    _check(len(names), num_resamples, confidence)

    def difference(places: np.ndarray) -> float:
        return _measure(statistic, two, places) - _measure(statistic, one, places)

    value = difference(np.arange(len(names)))
    resampled = resample(difference, len(names), num_resamples, subsets=subsets, seed=seed)
    summary = _summary(value, resampled, confidence, centre, bounds, len(names))
    moved = resampled - summary["bias"] if centre else resampled
    return PairedDifference(**summary, p_value=p_value(moved))


def resample(
    statistic: Callable[[Any], float],
    num_files: int,
    num_resamples: int,
    *,
    subsets: bool = False,
    seed: int = 0,
) -> np.ndarray:
    """What a statistic gives of drawn places of files, [num_resamples]."""
    rng = np.random.default_rng(seed)
    if not subsets:
        return np.array([statistic(row) for row in rng.integers(0, num_files, (num_resamples, num_files))])
    size = max(1, 2 * num_files // 3)
    every = np.tile(np.arange(num_files), (num_resamples, 1))
    found = np.array([statistic(row) for row in rng.permuted(every, axis=1)[:, :size]])
    return found.mean() + (found - found.mean()) * np.sqrt(size / (num_files - size))


def p_value(resampled: np.ndarray) -> float:
    """Two-sided, of a difference of 0, from differences resampled about the measured one; never 0.

    Twice the smaller share of resamples on either side of 0, counting one more than there are (Davison and Hinkley
    1997).
    """
    least = min((resampled <= 0.0).sum(), (resampled >= 0.0).sum())
    return float(min(1.0, 2.0 * (least + 1) / (len(resampled) + 1)))


def _check(num_files: int, num_resamples: int, confidence: float) -> None:
    if num_files < 2:
        raise ValueError(f"a bootstrap needs at least 2 files, there are {num_files}: give more")
    if num_resamples < 20 or not 0.0 < confidence < 1.0:
        raise ValueError(
            f"num_resamples must be at least 20 and confidence between 0 and 1, got {num_resamples} and {confidence}"
        )


def _values(files: Mapping[str, Any] | Sequence[Any], names: list[str]) -> np.ndarray | list[Any]:
    """The files' values, those of a mapping in the order of `names`; numbers as an array [F], which is drawn faster."""
    values = [files[name] for name in names] if isinstance(files, Mapping) else list(files)
    return np.array(values) if all(np.ndim(value) == 0 for value in values) else values


def _measure(statistic: Statistic, values: np.ndarray | list[Any], places: np.ndarray) -> float:
    drawn = values[places] if isinstance(values, np.ndarray) else [values[place] for place in places]
    number = float(statistic(drawn))
    if not np.isfinite(number):
        raise ValueError(f"the statistic gave {number} on some files: leave out the files that have no value")
    return number


def centred_interval(
    value: float, resampled: np.ndarray, confidence: float, bounds: Bounds = UNBOUNDED
) -> tuple[float, float]:
    """The percentile interval of resamples moved so that their mean is `value`, cut to the bounds; it holds `value`.

    Where all but a few resamples are equal, as shares near 1 are, the mean lies outside of the percentiles.
    """
    low, high = (end - (resampled.mean() - value) for end in _percentiles(resampled, confidence))
    return float(min(max(low, bounds[0]), value)), float(max(min(high, bounds[1]), value))


def _percentiles(resampled: np.ndarray, confidence: float) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)


def _summary(
    value: float, resampled: np.ndarray, confidence: float, centre: bool, bounds: Bounds, num_files: int
) -> dict[str, Any]:
    """The fields of an Interval."""
    bias = float(resampled.mean() - value)
    if centre:
        low, high = centred_interval(value, resampled, confidence, bounds)
    else:
        low, high = _percentiles(resampled, confidence)
    return {
        "value": value,
        "low": low,
        "high": high,
        "confidence": confidence,
        "bias": bias,
        "num_files": num_files,
        "num_resamples": len(resampled),
    }
