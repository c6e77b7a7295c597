"""Sets of embeddings as the set metrics take them: checked arrays, distances by blocks.

Shape letters: n, m embeddings, D their width, W windows of one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

BLOCK_ROWS = 2048  # embeddings that `moments` has in float64 at a time
BLOCK_VALUES = 4_000_000  # of one block of a matrix of pairs: 32 MB in float64


def as_embeddings(values: Any, name: str = "embeddings") -> np.ndarray:
    """A numpy array, tensor on any device or nested sequence [n, D] as float64.

    Raises ValueError for another shape, NaN or inf.
    """
    return as_rows(values, name).astype(np.float64, copy=False)


def as_rows(values: Any, name: str = "embeddings") -> np.ndarray:
    """As `as_embeddings`, but float32 stays as it is, for a caller that converts it to float64 piece by piece."""
    if hasattr(values, "detach"):  # a torch tensor: numpy cannot see its device, its gradient or its bfloat16
        values = values.detach().cpu()
        values = (values if values.element_size() == 4 else values.double()).numpy()
    array = np.asarray(values)
    if array.dtype != np.float32:
        array = array.astype(np.float64, copy=False)
    if array.ndim != 2 or not array.shape[1]:
        raise ValueError(f"{name} must be [n, D], got {array.shape}")
    if not np.isfinite(array.sum()) and not np.isfinite(array).all():  # a finite sum shows it in one pass
        raise ValueError(f"{name} hold NaN or inf")
    return array


def moments(values: np.ndarray, times: np.ndarray | None = None) -> tuple[int, np.ndarray, np.ndarray]:
    """Number, mean [D] and scatter [D, D], the sum of outer products about the mean, of rows [n, D], n >= 1.

    In float64, of which a block of rows is held at a time.

    Args:
        times: [n], how often each row is there, 0 or more; by default once.
    """
    blocks = [slice(begin, begin + BLOCK_ROWS) for begin in range(0, len(values), BLOCK_ROWS)]
    if times is None:
        num, mean = len(values), values.mean(0, dtype=np.float64)
    else:
        num = int(times.sum())
        mean = sum(times[rows].astype(np.float64) @ values[rows] for rows in blocks) / num
    scatter = np.zeros((values.shape[1], values.shape[1]))
    buffer = np.empty((min(BLOCK_ROWS, len(values)), values.shape[1]))
    for rows in blocks:
        block = values[rows] if times is None else values[rows][times[rows] > 0]
        centred = np.subtract(block, mean, out=buffer[: len(block)])
        if times is not None:
            centred *= np.sqrt(times[rows][times[rows] > 0])[:, None]
        scatter += centred.T @ centred  # numpy sees one array times itself: BLAS computes half of the product
    return num, mean, scatter


def row_times(places: Sequence[int], num_windows: Sequence[int] | np.ndarray) -> np.ndarray:
    """How often each embedding [n] is there where the files at these places are, given how many each file has."""
    return np.repeat(np.bincount(places, minlength=len(num_windows)), num_windows)


def as_pair(reference: Any, generated: Any, least: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Checks two sets of embeddings.

    Args:
        reference: embeddings [n, D].
        generated: embeddings [m, D].
        least: number of embeddings that each side must have.

    Returns:
        Both as float64.

    Raises:
        ValueError: unequal widths, or fewer than `least` on a side.
    """
    sides = as_embeddings(reference, "reference"), as_embeddings(generated, "generated")
    if sides[0].shape[1] != sides[1].shape[1]:
        raise ValueError(
            f"reference has embeddings of width {sides[0].shape[1]}, generated of {sides[1].shape[1]}: "
            "make both with the same embedder"
        )
    for name, side in zip(("reference", "generated"), sides, strict=True):
        if len(side) < least:
            raise ValueError(f"{name} has {len(side)} embeddings, at least {least} are needed: give more audio")
    return sides


def as_files(files: Sequence[Any], name: str = "files") -> list[np.ndarray]:
    """Files as float64 [W, D] with W >= 1 each, of one width.

    Raises ValueError for no file, a file without windows, or one of another width.
    """
    found = [as_embeddings(values, f"{name}: {place}: embeddings") for place, values in enumerate(files)]
    if not found:
        raise ValueError(f"{name}: no file was given")
    dim = found[0].shape[1]
    for place, values in enumerate(found):
        if not len(values) or values.shape[1] != dim:
            raise ValueError(f"{name}: {place} must be [W >= 1, {dim}] as the first file, got {values.shape}")
    return found


def row_blocks(num_rows: int, num_columns: int) -> Iterator[slice]:
    """Slices of rows, so that a block of them by `num_columns` stays below `BLOCK_VALUES`."""
    step = max(1, BLOCK_VALUES // max(1, num_columns))
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances [n, m] of the rows of a [n, D] and b [m, D], by one matrix product.

    Where the two norms cancel down to their rounding the distance is 0, so that equal embeddings are at no distance.
    Centre both sets first: the rounding is relative to the norms.
    """
    norms = np.square(a).sum(1)[:, None] + np.square(b).sum(1)
    squared: np.ndarray = norms - 2.0 * (a @ b.T)
    squared[squared < 16 * np.finfo(np.float64).eps * norms] = 0.0
    return squared
