"""How certain a figure is: bootstrap over files (Efron and Tibshirani 1993), for any statistic of a set of files.

`scipy.stats.bootstrap` draws the files: their indices, not windows, since windows of one file are alike and intervals
over them would be too narrow. The centring of intervals is our own. Statistics for which a repeated file makes a
different quantity, such as those of nearest neighbours, are computed on two thirds of the files without replacement
(`subsets`). Such values of b of F files vary less about their mean than the values of F other files would, by the root
of b / (F - b) (the delete-d jackknife, Shao and Wu 1989), and are stretched accordingly.

Shape letters: F files, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Bounds = tuple[float, float]  # lowest and highest value that a statistic can take
UNBOUNDED: Bounds = (-np.inf, np.inf)
MIN_RESAMPLES = 20


def resample(
    statistic: Callable[[Array, np.random.Generator], Array],
    num_files: int,
    num_resamples: int,
    *,
    subsets: bool = False,
    seed: int = 0,
) -> Array:
    """Computes a statistic of drawn places of files.

    Args:
        statistic: of places [R, F] and the generator that drew them, for statistics that draw something within each
            file as well, to [R].
        num_files: F; one file alone is drawn every time.
        num_resamples: R.
        subsets: draw two thirds of the files, none twice.
        seed: of the draws.

    Returns:
        The statistic of each resample, [R].
    """
    from scipy.stats import bootstrap

    rng = np.random.default_rng(seed)
    if subsets:
        size = max(1, 2 * num_files // 3)
        every = np.tile(np.arange(num_files), (num_resamples, 1))
        found = statistic(rng.permuted(every, axis=1)[:, :size], rng)
        return np.asarray(found.mean() + (found - found.mean()) * np.sqrt(size / (num_files - size)))
    if num_files == 1:
        return statistic(np.zeros((num_resamples, 1), np.int64), rng)
    drawn = bootstrap(
        (np.arange(num_files),),
        lambda places, axis: statistic(places, rng),
        n_resamples=num_resamples,
        batch=num_resamples,
        vectorized=True,
        method="percentile",
        random_state=rng,
    )
    return np.asarray(drawn.bootstrap_distribution)


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
    """Centres the percentile interval of resamples: moves it so that their mean is `value`, and cuts it to the bounds.

    Args:
        value: of the files as they are.
        resampled: the values of resamples, [R].
        confidence: share of resamples inside the interval.
        bounds: lowest and highest value that the statistic can take.

    Returns:
        The ends. They include `value`, also where all but a few resamples are equal, as shares near 1 are, so that the
        mean lies outside of the percentiles.
    """
    low, high = (end - (resampled.mean() - value) for end in percentiles(resampled, confidence))
    return float(min(max(low, bounds[0]), value)), float(max(min(high, bounds[1]), value))


def percentiles(resampled: Array, confidence: float) -> tuple[float, float]:
    """The ends of the percentile interval of resamples [R]."""
    low, high = np.quantile(resampled, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)
