"""Fidelity and diversity apart, by nearest neighbours: improved precision and recall, density and coverage.

Precision and recall: Kynkäänniemi et al. 2019 (arXiv 1904.06991). Density and coverage: Naeem et al. 2020 (arXiv
2002.09797). The package `prdc` is not used: it holds three whole matrices of pairs and prints; agreement with its
definition is tested. Shape letters: n reference, m generated embeddings, D their width.
"""

from __future__ import annotations

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
    """Precision, recall, density and coverage of generated embeddings [m, D] by reference embeddings [n, D].

    The ball of an embedding reaches to its k-th nearest neighbour in its own set, itself not counted, and holds what
    lies on its border (Kynkäänniemi et al., equation 2; `prdc` leaves the border out, which only ties can show). All
    four depend on n, m and k: compare systems at equal ones. Memory is that of a block of pairs.

    Raises:
        ValueError: k below 1, or a set of k embeddings or fewer.
    """
    if num_neighbours < 1:
        raise ValueError(f"num_neighbours must be at least 1, got {num_neighbours}")
    x, y = as_pair(reference, generated, least=num_neighbours + 1)
    centre = x.mean(0)
    x, y = x - centre, y - centre
    # widened by the rounding of distances, so that ties are on the border whatever the order of the sums
    slack = 64 * np.finfo(np.float64).eps * max(np.square(x).sum(1).max(), np.square(y).sum(1).max())
    radii_x, radii_y = _radii(x, num_neighbours) + slack, _radii(y, num_neighbours) + slack
    balls_around = np.zeros(len(y), np.int64)  # balls of the reference that hold each generated embedding
    covered = recalled = 0
    for rows in row_blocks(len(x), len(y)):
        squared = squared_distances(x[rows], y)
        inside = squared <= radii_x[rows, None]
        balls_around += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((squared <= radii_y).any(1).sum())
    return Neighbourhood(
        precision=float((balls_around > 0).mean()),
        recall=recalled / len(x),
        density=float(balls_around.mean() / num_neighbours),
        coverage=covered / len(x),
        num_neighbours=num_neighbours,
    )


def _radii(values: np.ndarray, num_neighbours: int) -> np.ndarray:
    """Squared distance [n] of each embedding to its k-th nearest neighbour."""
    radii = np.empty(len(values))
    for rows in row_blocks(len(values), len(values)):
        squared = squared_distances(values[rows], values)
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = np.inf  # itself
        radii[rows] = np.partition(squared, num_neighbours - 1, axis=1)[:, num_neighbours - 1]
    return radii
