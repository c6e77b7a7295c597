"""Fidelity and diversity apart, by nearest neighbours: improved precision and recall, density and coverage.

Precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991). Density and coverage: Naeem et al. 2020 (arXiv
2002.09797). The package `prdc` is not used: it holds three whole matrices of pairs and prints; agreement with its
definition is tested. Shape letters: n reference, m generated embeddings, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .sets import as_pair, row_blocks, squared_distances


@dataclass(frozen=True, kw_only=True)
class Neighbourhood:
    """Shares of embeddings that lie within the k-nearest-neighbour balls of the other set."""

    precision: float  # of the generated, in any ball of the reference: fidelity, 0 to 1
    recall: float  # of the reference, in any ball of the generated: diversity, 0 to 1
    density: float  # balls of the reference around each generated one, over k: fidelity, 1 for equal distributions
    coverage: float  # of the reference's balls, with any generated one inside: diversity, 0 to 1
    num_neighbours: int  # k


def precision_recall_density_coverage(reference: Any, generated: Any, *, num_neighbours: int = 5) -> Neighbourhood:
    """Computes precision, recall, density and coverage of generated embeddings by reference embeddings.

    The ball of an embedding reaches to its k-th nearest neighbour in its own set, itself not counted, and holds what
    lies on its border (Kynkäänniemi et al., equation 2; `prdc` leaves the border out, which only ties can show). All
    four depend on n, m and k: compare systems at equal ones. Memory is that of a block of pairs.

    Args:
        reference: embeddings [n, D].
        generated: embeddings [m, D].
        num_neighbours: k.

    Returns:
        The four shares.

    Raises:
        ValueError: k below 1, or a set of k embeddings or fewer.
    """
    found = FileNeighbours(reference, [generated], num_neighbours=num_neighbours)
    return Neighbourhood(
        precision=found.precision([0]),
        recall=found.recall([0]),
        density=found.density([0]),
        coverage=found.coverage([0]),
        num_neighbours=num_neighbours,
    )


class FileNeighbours:
    """The four shares for any choice of generated files, with the balls of the reference made once.

    Each share is the `of_files` of a `SetFigure(subsets=True)`, for intervals over files. A choice contains a file only
    once: of repeated ones each embedding has its copies as nearest neighbours, at distance 0, and the balls that recall
    looks at would shrink to points. The reference stays whole, as it is for the other set metrics. Memory is that of a
    block of pairs, and the number of the reference's embeddings times that of the files in bytes.
    """

    def __init__(self, reference: Any, files: Sequence[Any], *, num_neighbours: int = 5):
        """Files [W, D] each, F in all; what is raised as in `precision_recall_density_coverage`."""
        if num_neighbours < 1:
            raise ValueError(f"num_neighbours must be at least 1, got {num_neighbours}")
        x, y = as_pair(reference, np.concatenate(files), least=num_neighbours + 1)
        centre = x.mean(0)
        self._x, self._y = x - centre, y - centre
        self._num_neighbours = num_neighbours
        self._ends = np.cumsum([len(values) for values in files])
        self._starts = np.concatenate([[0], self._ends[:-1]])
        # widened by the rounding of distances, so that ties are on the border whatever the order of the sums
        largest = max(np.square(self._x).sum(1).max(), np.square(self._y).sum(1).max())
        self._slack = 64 * np.finfo(np.float64).eps * largest
        radii = _radii(self._x, num_neighbours) + self._slack
        self._around = np.zeros(len(y), np.int64)  # balls of the reference that hold each generated embedding
        self._covered = np.zeros((len(x), len(files)), bool)  # balls that hold any embedding of each file
        for rows in row_blocks(len(x), len(y)):
            inside = squared_distances(self._x[rows], self._y) <= radii[rows, None]
            self._around += inside.sum(0)
            self._covered[rows] = np.logical_or.reduceat(inside, self._starts, axis=1)

    def precision(self, places: Sequence[int]) -> float:
        """The precision of the files at these places."""
        return float((self._around[self._rows(places)] > 0).mean())

    def density(self, places: Sequence[int]) -> float:
        """The density of the files at these places."""
        return float(self._around[self._rows(places)].mean() / self._num_neighbours)

    def coverage(self, places: Sequence[int]) -> float:
        """The coverage by the files at these places."""
        return float(self._covered[:, places].any(1).mean())

    def recall(self, places: Sequence[int]) -> float:
        """The recall by the files at these places; raises ValueError where they hold k embeddings or fewer."""
        y = self._y[self._rows(places)]
        if len(y) <= self._num_neighbours:
            raise ValueError(f"recall needs more than {self._num_neighbours} embeddings, the files hold {len(y)}")
        radii = _radii(y, self._num_neighbours) + self._slack
        blocks = row_blocks(len(self._x), len(y))
        recalled = sum(int((squared_distances(self._x[rows], y) <= radii).any(1).sum()) for rows in blocks)
        return recalled / len(self._x)

    def _rows(self, places: Sequence[int]) -> np.ndarray:
        return np.concatenate([np.arange(self._starts[place], self._ends[place]) for place in places])


def _radii(values: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Squared distance [n] of each embedding to its k-th nearest neighbour."""
    radii = np.empty(len(values))
    for rows in row_blocks(len(values), len(values)):
        squared = squared_distances(values[rows], values)
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf  # itself
        radii[rows] = np.partition(squared, num_neighbours - 1, axis=1)[:, num_neighbours - 1]
    return radii
