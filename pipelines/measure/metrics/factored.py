"""Gaussians by a factor of their covariance, for distances of many sets to one reference.

The reference's covariance is factored once. Embeddings that do not outnumber their dimensions need no covariance at
all: centred and divided by the root of n - 1 they are a factor of it. Shape letters: n embeddings, D their width,
r rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .root_trace import factor, factors_trace
from .sets import moments, row_times

if TYPE_CHECKING:
    from .frechet import GaussianStatistics


@dataclass(frozen=True, kw_only=True)
class Factored:
    """A Gaussian."""

    mean: np.ndarray  # [D]
    trace: float  # of the covariance
    factor: np.ndarray  # [D, r], whose product with its transpose is the covariance
    rank: int  # of the covariance, at most; r or less


def factored_statistics(statistics: GaussianStatistics) -> Factored:
    """Factors the covariance of statistics. Raises ValueError below two embeddings."""
    covariance = statistics.covariance
    root = factor(covariance)
    rank = min(root.shape[1], statistics.num - 1)
    return Factored(mean=statistics.mean, trace=float(np.trace(covariance)), factor=root, rank=rank)


def factored_embeddings(values: np.ndarray, times: np.ndarray | None = None) -> Factored:
    """Factors the covariance of embeddings [n, D], n >= 1; one embedding is a point, without variance.

    Args:
        times: [n], how often each is there, 0 or more; by default once.
    """
    present = len(values) if times is None else np.count_nonzero(times)
    if present > values.shape[1]:
        num, mean, scatter = moments(values, times)
        covariance = scatter / (num - 1)
        root = factor(covariance)
        return Factored(mean=mean, trace=float(np.trace(covariance)), factor=root, rank=root.shape[1])
    if times is None:
        times = np.ones(len(values))
    values, times = values[times > 0], times[times > 0]
    mean = np.average(values, 0, times)  # float64, as the weights make it
    spread = (values - mean) * np.sqrt(times / max(1.0, times.sum() - 1))[:, None]  # [n, D]
    return Factored(mean=mean, trace=float(np.square(spread).sum()), factor=spread.T, rank=len(values) - 1)


def factored_distance(a: Factored, b: Factored) -> float:
    """The Fréchet distance, at least 0."""
    cross = factors_trace(a.factor, b.factor, min(a.rank, b.rank))
    return max(0.0, float(np.square(a.mean - b.mean).sum() + a.trace + b.trace - 2.0 * cross))


class FileFrechetDistance:
    """The Fréchet distance of any choice of files to one reference, whose covariance is factored only once.

    It is the `of_files` of a `SetFigure`, for intervals over files.
    """

    def __init__(self, reference: GaussianStatistics, embeddings: np.ndarray, num_windows: Sequence[int] | np.ndarray):
        """Embeddings [n, D] of all files, one after the other, of which `num_windows` [F] are each file's."""
        self.num_windows = num_windows
        self._reference = factored_statistics(reference)
        self._embeddings = embeddings

    def __call__(self, places: Sequence[int]) -> float:
        """The distance of the files at `places`, of which some may stand there several times."""
        rows = factored_embeddings(self._embeddings, row_times(places, self.num_windows))
        return factored_distance(self._reference, rows)
