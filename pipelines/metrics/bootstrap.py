"""How sure a figure is: bootstrap over files (Efron and Tibshirani 1993), for any statistic of a set of files.

Files are drawn, not windows: windows of one file are alike, and intervals over them would be too narrow.
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
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic over files drawn with replacement.

    Args:
        files: one value a file, a number or an array; a mapping is taken in order of name.
        statistic: called with the drawn values (numbers as an array, else a list), such as
            `lambda drawn: frechet_distance(reference, np.concatenate(drawn))`.
        centre: move the interval by `-bias`. A resample holds some files twice and others not at all, which raises the
            Fréchet and kernel distances: their plain percentile intervals lie too high and may leave out the value.

    Raises:
        ValueError: fewer than two files, fewer than 20 resamples, a confidence outside 0..1, or a statistic that is
            not finite.
    """
    values = _values(files, sorted(files) if isinstance(files, Mapping) else [])
    _check(len(values), num_resamples, confidence)
    value = _measure(statistic, values, np.arange(len(values)))
    draws = np.random.default_rng(seed).integers(0, len(values), (num_resamples, len(values)))
    resampled = np.array([_measure(statistic, values, row) for row in draws])
    return Interval(**_summary(value, resampled, confidence, centre, len(values)))


def paired_bootstrap(
    a: Mapping[str, Any] | Sequence[Any],
    b: Mapping[str, Any] | Sequence[Any],
    statistic: Statistic = mean,
    *,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    centre: bool = False,
    seed: int = 0,
) -> PairedDifference:
    """Whether system `b` differs from `a`: both are measured on the same drawn files, again and again.

    The p-value is twice the smaller share of resamples on either side of 0, counting one more than there are
    (Davison and Hinkley 1997): it is never 0, and 1 for equal systems.

    Args:
        a, b: one value a file each, in one order or by name; the rest as in `bootstrap_interval`.

    Raises:
        ValueError: as `bootstrap_interval`; names that only one system has, which are listed, or unequal numbers.
    """
    names = pair_files(a, b, ("a", "b"))
    one, two = _values(a, names), _values(b, names)
    _check(len(names), num_resamples, confidence)
    every = np.arange(len(names))
    value = _measure(statistic, two, every) - _measure(statistic, one, every)
    draws = np.random.default_rng(seed).integers(0, len(names), (num_resamples, len(names)))
    resampled = np.array([_measure(statistic, two, row) - _measure(statistic, one, row) for row in draws])
    summary = _summary(value, resampled, confidence, centre, len(names))
    moved = resampled - summary["bias"] if centre else resampled
    least = min((moved <= 0.0).sum(), (moved >= 0.0).sum())
    return PairedDifference(**summary, p_value=float(min(1.0, 2.0 * (least + 1) / (num_resamples + 1))))


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


def _summary(value: float, resampled: np.ndarray, confidence: float, centre: bool, num_files: int) -> dict[str, Any]:
    """The fields of an Interval."""
    bias = float(resampled.mean() - value)
    low, high = np.quantile(resampled, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0]) - (bias if centre else 0.0)
    return {
        "value": value,
        "low": float(low),
        "high": float(high),
        "confidence": confidence,
        "bias": bias,
        "num_files": num_files,
        "num_resamples": len(resampled),
    }
