"""The bootstrap over files in a few lines of numpy, as an independent reference for the library's through scipy."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def plain_bootstrap(
    files: Sequence[Any],
    statistic: Callable[[Any], float] = np.mean,
    *,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    centre: bool = False,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    seed: int = 0,
) -> tuple[float, float]:
    """The ends of the percentile interval of a statistic of drawn files, which it gets as a list."""
    draws = np.random.default_rng(seed).integers(0, len(files), (num_resamples, len(files)))
    found = np.array([statistic([files[place] for place in row]) for row in draws])
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    if not centre:
        return float(low), float(high)
    value = float(statistic(list(files)))
    moved = found.mean() - value
    return min(max(low - moved, bounds[0]), value), max(min(high - moved, bounds[1]), value)
