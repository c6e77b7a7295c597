"""Kernel distances of sets of embeddings: squared maximum mean discrepancy, unbiased (Gretton et al. 2012, equation 3).

Gaussian kernel, with the median distance of the reference as bandwidth: KAD (Chung et al. 2025, arXiv 2502.15602).
Polynomial kernel: KID (Bińkowski et al. 2018, arXiv 1801.01401); over the whole sets at once, which has the expectation
of KID's mean over subsets of 1000 and less variance. Unlike the Fréchet distance neither is biased by sample size, and
both may come out slightly below 0 for sets of one distribution. The matrices of pairs are made in blocks and not kept.
Shape letters: n, m embeddings, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from .sets import as_embeddings, as_files, as_pair, row_blocks, squared_distances

Kernel = Literal["gaussian", "polynomial"]
KernelFunction = Callable[[np.ndarray, np.ndarray], np.ndarray]  # [n, D], [m, D] -> [n, m]
KAD_SCALE = 100.0  # by which `kadtk` multiplies the discrepancy

PAIRS_AT_ONCE = 8_000_000  # of candidates for the median that are held in memory, 64 MB
NUM_BINS = 4096


def kernel_distance(
    reference: Any,
    generated: Any,
    *,
    kernel: Kernel = "gaussian",
    bandwidth: float | None = None,
    degree: int = 3,
) -> float:
    """Computes the unbiased squared maximum mean discrepancy.

    Args:
        reference: embeddings [n, D].
        generated: embeddings [m, D].
        kernel: `gaussian`, exp(-|x - y|^2 / (2 bandwidth^2)), or `polynomial`, (x . y / D + 1)^degree.
        bandwidth: of the Gaussian kernel; by default `reference_bandwidth(reference)`, so that all systems measured
            against one reference share it.

        degree: of the polynomial kernel.

    Returns:
        The discrepancy, which may lie below 0 for sets of one distribution.

    Raises:
        ValueError: fewer than two embeddings on a side, different widths, an unknown kernel, a bandwidth that is not
            above 0 (the default is 0 where half of the reference's pairs are equal).
    """
    x, y = as_pair(reference, generated, least=2)
    function = _function(x, kernel, bandwidth, degree)
    return _mean_within(x, function) + _mean_within(y, function) - 2.0 * _mean_between(x, y, function)


def kernel_audio_distance(reference: Any, generated: Any, *, bandwidth: float | None = None) -> float:
    """Computes KAD: the Gaussian kernel distance times 100, on the scale of the paper's and `kadtk`'s figures.

    Args:
        reference: embeddings [n, D].
        generated: embeddings [m, D].
        bandwidth: by default that of the reference, as the paper defines it. `kadtk` 1.1.0 takes the median of the set
            that is evaluated instead; for its figure pass `median_distance(generated)`.

    Returns:
        The distance.

    Raises:
        ValueError: as `kernel_distance`.
    """
    return KAD_SCALE * kernel_distance(reference, generated, bandwidth=bandwidth)


def median_distance(embeddings: Any) -> float:
    """The median Euclidean distance over all pairs of different embeddings [n, D]; of two middle ones the lower.

    Exact, in bounded memory: pairs are counted in bins until few enough are left to be sorted.

    Raises ValueError below two embeddings.
    """
    values = as_embeddings(embeddings)
    if len(values) < 2:
        raise ValueError(f"a median distance needs at least 2 embeddings, there are {len(values)}: give more audio")
    values = values - values.mean(0)
    left = len(values) * (len(values) - 1) // 2
    rank = (left - 1) // 2
    top = 4.0 * float(np.square(values).sum(1).max()) * (1 + 1e-9)  # no distance is above twice the largest norm
    low, high = 0.0, float(np.nextafter(top, np.inf))
    while left > PAIRS_AT_ONCE and high - low > np.spacing(top):
        low, high, rank, left = _narrow(values, low, high, rank)
    if left > PAIRS_AT_ONCE:  # that many pairs at one distance
        return float(np.sqrt(low))
    pairs = np.concatenate([block[(block >= low) & (block < high)] for block in _pairs(values)])
    return float(np.sqrt(np.partition(pairs, rank)[rank]))


def reference_bandwidth(reference: Any) -> float:
    """The bandwidth that the Gaussian kernel has by default: the median distance of the reference [n, D].

    Raises ValueError below two embeddings, and where the median is 0.
    """
    width = median_distance(reference)
    if not width:
        raise ValueError(
            "the bandwidth must be above 0, got 0.0; half of the reference's embeddings or more are equal: give another"
        )
    return width


class FileKernelDistance:
    """The kernel distance of any choice of files to one reference, from sums over pairs of files made once.

    It is the `of_files` of a `SetFigure`, for intervals over files: each resample is measured in a time that does not
    depend on the number of windows.
    """

    def __init__(
        self,
        reference: Any,
        files: Sequence[Any],
        *,
        kernel: Kernel = "gaussian",
        bandwidth: float | None = None,
        degree: int = 3,
    ):
        """Files [W, D] each, F in all; the rest and what is raised as in `kernel_distance`."""
        found = as_files(files)
        x, y = as_pair(reference, np.concatenate(found), least=2)
        function = _function(x, kernel, bandwidth, degree)
        self.num_windows = np.array([len(values) for values in found])  # [F]
        starts = np.cumsum(self.num_windows) - self.num_windows
        self._num_reference = len(x)
        self._within_reference = _mean_within(x, function)
        self._to_reference = np.zeros(len(found))  # [F], sums over all pairs of windows; below too
        self._between = np.zeros((len(found), len(found)))
        self._own = np.zeros(len(found))
        for place, values in enumerate(found):
            self._to_reference[place] = sum(function(x[rows], values).sum() for rows in row_blocks(len(x), len(values)))
            for rows in row_blocks(len(values), len(y)):
                block = function(values[rows], y)
                self._between[place] += np.add.reduceat(block.sum(0), starts)
                own = np.arange(rows.start, rows.stop)
                self._own[place] += block[own - rows.start, own + starts[place]].sum()

    def __call__(self, places: Sequence[int]) -> float:
        """The distance of the files at `places`, of which some may stand there several times.

        Raises ValueError below two windows.
        """
        times = np.bincount(np.asarray(places, np.int64), minlength=len(self.num_windows)).astype(np.float64)
        num = float(times @ self.num_windows)
        if num < 2:
            raise ValueError("the files chosen have fewer than 2 windows: a kernel distance needs at least 2")
        within = (times @ self._between @ times - times @ self._own) / (num * (num - 1.0))
        return float(self._within_reference + within - 2.0 * (times @ self._to_reference) / (num * self._num_reference))


def _pairs(values: np.ndarray) -> Iterator[np.ndarray]:
    """Squared distances of all pairs i < j, block by block; the same at each call."""
    for rows in row_blocks(len(values), len(values)):
        block = squared_distances(values[rows], values[rows.start :])
        yield block[np.triu(np.ones(block.shape, bool), 1)]


def _narrow(values: np.ndarray, low: float, high: float, rank: int) -> tuple[float, float, int, int]:
    """The bin of [low, high) that holds the squared distance of `rank`: its edges, the rank in it, its pairs."""
    edges = np.linspace(low, high, NUM_BINS + 1)
    counts = np.zeros(NUM_BINS, np.int64)
    for block in _pairs(values):
        inside = block[(block >= low) & (block < high)]
        places = np.searchsorted(edges, inside, side="right") - 1
        counts += np.bincount(np.minimum(places, NUM_BINS - 1), minlength=NUM_BINS)
    below = np.concatenate([[0], np.cumsum(counts)])
    chosen = int(np.searchsorted(below, rank, side="right") - 1)
    return float(edges[chosen]), float(edges[chosen + 1]), rank - int(below[chosen]), int(counts[chosen])


def _function(x: np.ndarray, kernel: str, bandwidth: float | None, degree: int) -> KernelFunction:
    """The kernel for a reference [n, D]."""
    if kernel == "gaussian":
        width = reference_bandwidth(x) if bandwidth is None else float(bandwidth)
        if not 0.0 < width < np.inf:
            raise ValueError(f"the bandwidth must be above 0 and finite, got {width}: give another")
        centre = x.mean(0)  # about which the distances round least
        return lambda a, b: np.exp(squared_distances(a - centre, b - centre) * (-0.5 / width**2))
    if kernel != "polynomial":
        raise ValueError(f"kernel must be 'gaussian' or 'polynomial', got {kernel!r}")
    if bandwidth is not None:
        raise ValueError("the polynomial kernel has no bandwidth: leave it out")
    if degree < 1:
        raise ValueError(f"degree must be at least 1, got {degree}")
    return lambda a, b: (a @ b.T / a.shape[1] + 1.0) ** degree


def _mean_within(x: np.ndarray, function: KernelFunction) -> float:
    """Mean of the kernel over pairs of different members."""
    total = 0.0
    for rows in row_blocks(len(x), len(x)):  # of the symmetric matrix the blocks on the diagonal and right of it
        block = function(x[rows], x[rows.start :])
        own = block[:, : len(block)]
        total += own.sum() - np.trace(own) + 2.0 * block[:, len(block) :].sum()
    return float(total / (len(x) * (len(x) - 1)))


def _mean_between(x: np.ndarray, y: np.ndarray, function: KernelFunction) -> float:
    return float(sum(function(x[rows], y).sum() for rows in row_blocks(len(x), len(y))) / (len(x) * len(y)))
