"""Means over files and seeds, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean with its confidence interval; None where there is no value at all."""

    mean: float | None
    low: float | None
    high: float | None
    num_values: int  # files x seeds that have a value
    num_missing: int  # that have none


def bootstrap(values: Sequence[Sequence[float | None]], *, seed: int = 0) -> Estimate:
    """Mean of values [files][seeds] and its 95 % interval by the percentile bootstrap over files and seeds.

    Each of 1000 times, files are drawn with replacement and then, for each file drawn, seeds: the two are nested, for a
    file's seeds are alike. A file's mean counts once, however many of its values are missing. One file alone shows
    nothing of the spread of files: its interval is that of the seeds.
    """
    table = np.array([[np.nan if v is None else v for v in row] for row in values], dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"values must be [files][seeds] with at least one of each, got shape {table.shape}")
    present = np.isfinite(table)
    missing = int((~present).sum())
    table = table[present.any(1)]
    if not len(table):
        return Estimate(mean=None, low=None, high=None, num_values=0, num_missing=missing)
    rng = np.random.default_rng(seed)
    num_files, num_seeds = table.shape
    files = rng.integers(num_files, size=(RESAMPLES, num_files))
    seeds = rng.integers(num_seeds, size=(RESAMPLES, num_files, num_seeds))
    drawn = table[files[..., None], seeds]
    count = np.isfinite(drawn).sum(-1)
    means = np.where(count > 0, np.nansum(drawn, -1) / np.maximum(count, 1), np.nanmean(table, 1)[files]).mean(-1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(
        mean=float(np.nanmean(table, 1).mean()),
        low=float(low),
        high=float(high),
        num_values=int(present.sum()),
        num_missing=missing,
    )
