"""Means over the rows of a figure, as samples that can be resampled over files.

Shape letters: F files, S repeated draws of a file, R resamples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

import numpy as np

from .intervals import UNBOUNDED, Array, Bounds
from .rows import Row
from .samples import Sample


def rows_sample(rows: Sequence[Row], *, nested: bool = False, bounds: Bounds = UNBOUNDED) -> Sample | None:
    """Builds the sample of the mean of rows of one system and figure.

    Args:
        rows: the rows; values that are not numbers count as missing.
        nested: rows of one file are repeated draws of it, as many for each file, not items of their own.
        bounds: of the mean.

    Returns:
        The sample, or None where no row has a number.
    """
    values = [float(row.value) if _is_number(row.value) else math.nan for row in rows]
    if nested:
        draws: dict[str, list[float]] = {}
        for row, value in zip(rows, values, strict=True):
            draws.setdefault(row.file, []).append(value)
        kept = {name: each for name, each in draws.items() if not all(map(math.isnan, each))}
        return nested_sample(list(kept), np.array(list(kept.values())), bounds) if kept else None
    present = [(row.file, value, row.weight) for row, value in zip(rows, values, strict=True) if _is_number(row.value)]
    if not present:
        return None
    names, numbers, weights = zip(*present, strict=True)
    return mean_sample(list(names), np.array(numbers), np.array(weights, np.float64), bounds)


def _is_number(value: float | str | None) -> TypeGuard[float]:
    return isinstance(value, (int, float))


def mean_sample(names: Sequence[str], values: Array, weights: Array, bounds: Bounds = UNBOUNDED) -> Sample:
    """Builds the sample of a weighted mean of one value per file.

    Args:
        names: of the F files.
        values: values [F].
        weights: weights [F].
        bounds: of the mean.

    Returns:
        The sample.
    """
    equal = bool((weights == weights[0]).all())

    def of_files(places: Array, rng: np.random.Generator) -> Array:
        drawn = values[places]
        if equal:
            return np.asarray(drawn.mean(-1))
        return np.asarray((drawn * weights[places]).sum(-1) / weights[places].sum(-1))

    value = float(of_files(np.arange(len(values)), np.random.default_rng()))
    return Sample(names=names, value=value, of_files=of_files, vectorized=True, bounds=bounds)


def nested_sample(names: Sequence[str], values: Array, bounds: Bounds = UNBOUNDED) -> Sample:
    """Builds the sample of a mean over files of the mean over repeated draws.

    Resamples draw files and then, for each file drawn, repeats: the repeats of one file are alike. The mean of a file
    counts once, however many of its values are missing.

    Args:
        names: of the F files.
        values: [F, S]; NaN where a draw has no value, but not in all draws of a file.
        bounds: of the mean.

    Returns:
        The sample.
    """
    num_draws = values.shape[1]
    of_file = np.nanmean(values, 1)

    def of_files(places: Array, rng: np.random.Generator) -> Array:
        chosen = rng.integers(num_draws, size=(*places.shape, num_draws))
        drawn = values[places[..., None], chosen]
        count = np.isfinite(drawn).sum(-1)
        return np.asarray(np.where(count > 0, np.nansum(drawn, -1) / np.maximum(count, 1), of_file[places]).mean(-1))

    return Sample(names=names, value=float(of_file.mean()), of_files=of_files, vectorized=True, bounds=bounds)
