"""The Fréchet distance in detail: its bias by sample size, and which files contribute to it.

The distance of n embeddings is on average d + c / n to first order (Chong and Forsyth 2020, arXiv 1911.07023).
`frechet_infinity` fits that line and gives d, as Gui et al. 2023 do for audio (arXiv 2311.01616, FAD-inf);
`frechet_per_file` gives each file's distance to the reference, their per-song FAD.
Shape letters: n embeddings, D their width, W windows of one file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .factored import factored_distance, factored_embeddings, factored_statistics
from .frechet import as_statistics
from .sets import as_files, as_rows


@dataclass(frozen=True, kw_only=True)
class Extrapolation:
    """A line through distances against 1 / n, and the distances."""

    value: float  # where 1 / n is 0; may be below 0 where both sets come from one distribution
    slope: float  # c of d + c / n
    r_squared: float  # share of the distances' variance that the line explains; far below 1 the line does not hold
    points: tuple[tuple[int, float], ...]  # (n, distance), n rising


def frechet_infinity(
    reference: Any,
    generated: Any,
    *,
    num_sizes: int = 25,
    min_size: int | None = None,
    replace: bool = False,
    times: np.ndarray | None = None,
    seed: int = 0,
) -> Extrapolation:
    """The Fréchet distance that endlessly many generated embeddings would have; the reference stays as it is.

    Args:
        reference: `GaussianStatistics`, or embeddings [n, D].
        generated: embeddings [m, D]; `seed` picks among them, so give them in an order that is always the same.
        num_sizes: of subsets, evenly spaced from `min_size` to m.
        min_size: of the smallest subset; by default 500 as in Gui et al., or half of m where m is below 1000. The line
            needs sizes well above D to hold: see `r_squared`.
        replace: draw with replacement, as `fadtk` does. Then all subsets are samples of the same m embeddings, not of
            what these were drawn from, and the bias of m itself stays in the value.
        times: [m], how often each generated embedding is there, for resamples; m is then their sum. By default once.

    Returns:
        The line through the distances of subsets, whose value at 1 / n = 0 is the extrapolated distance.

    Raises:
        MismatchError, ValueError: as `frechet_distance`; fewer than 8 generated embeddings; sizes outside 2..m.
    """
    values = as_rows(generated, "generated")
    rows = np.arange(len(values)) if times is None else np.repeat(np.arange(len(values)), times)
    num = len(rows)
    if num < 8:
        raise ValueError(f"generated has {num} embeddings, at least 8 are needed for a line: give more audio")
    least = min(500, num // 2) if min_size is None else min_size
    if not 2 <= least < num or num_sizes < 2:
        raise ValueError(f"min_size must be in 2..{num - 1} and num_sizes at least 2, got {least} and {num_sizes}")
    start = factored_statistics(as_statistics(reference, values[:2])[0])
    rng = np.random.default_rng(seed)
    sizes = sorted({int(size) for size in np.linspace(least, num, num_sizes)})
    points = []
    for size in sizes:
        taken = np.bincount(rng.choice(rows, size, replace=replace), minlength=len(values))
        points.append((size, factored_distance(start, factored_embeddings(values, taken))))
    inverse, distances = 1.0 / np.array(sizes), np.array([distance for _, distance in points])
    slope, value = np.polyfit(inverse, distances, 1)
    spread = np.square(distances - distances.mean()).sum()
    missed = np.square(distances - (value + slope * inverse)).sum()
    return Extrapolation(
        value=float(value),
        slope=float(slope),
        r_squared=float(1.0 - missed / spread) if spread > 0.0 else 1.0,
        points=tuple(points),
    )


def frechet_per_file(reference: Any, files: Sequence[Any]) -> list[float]:
    """The Fréchet distance of each file's windows [W, D] to the reference.

    A file of few windows has a singular covariance and the distance that `frechet_distance` defines for it. A file of
    one window has none: it is taken as a point, at |x - mu|^2 + Tr A, so that no file is left out. Compare only files
    of similar numbers of windows, since few windows make the distance larger.

    Raises:
        MismatchError, ValueError: as `frechet_distance`; no files, or one without windows.
    """
    found = as_files(files)
    start = factored_statistics(as_statistics(reference, found[0])[0])
    return [factored_distance(start, factored_embeddings(values)) for values in found]
