"""Tr (A B)^1/2 of two covariances: the part of the Fréchet distance that is not elementary.

The eigenvalues of A B are those of L' B L with A = L L', and the squares of the singular values of K' L with B = K K'.
Either way no root of a matrix is taken, and none of a product that is not symmetric, as `scipy.linalg.sqrtm` of A B
would: that takes some twenty times as long and fails on singular products.

Eigenvalues are quickest, and exact enough unless some lie near their rounding m: the root of x is then right within
m / (2 sqrt x). Where the sum of this over all eigenvalues is above `ACCURACY` of the trace, or one is not clearly above
m, the singular values are computed instead, whose rounding no root magnifies. So the way is chosen by the error that
the eigenvalues show, not by an estimate of conditions. Shape letters: D width of an embedding, r rank.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigvalsh
from scipy.linalg.lapack import dpotrf, dpstrf, dsygst

ACCURACY = 1e-9  # of the trace, relative: a bound, which errors of both signs stay far below
CLEARLY = 16.0  # times its rounding an eigenvalue must be to count as more than 0; 0 itself gives less than 1


def root_trace(a: np.ndarray, b: np.ndarray) -> float:
    """Tr (A B)^1/2 of two positive semidefinite matrices [D, D], float64.

    Well-conditioned ones go through a symmetric eigenvalue problem (LAPACK potrf, sygst, syevr), all others, singular
    ones included, through `factor` and singular values.
    """
    lower, singular = dpotrf(a.T, lower=1)  # the transpose of a symmetric matrix is the same in Fortran's order
    if not singular:
        product, info = dsygst(b.T, lower, itype=2, lower=1)
        assert info == 0, f"dsygst: {info}"
        # the rounding of L' B L is that of |A| |B|, which may be far above its own norm
        found = _sum_of_roots(product, float(np.linalg.norm(a) * np.linalg.norm(b)), len(a))
        if found is not None:
            return found
    return factors_trace(factor(a), factor(b))


def factors_trace(a: np.ndarray, b: np.ndarray, rank: int | None = None) -> float:
    """Computes Tr (A B)^1/2 where A = a a' and B = b b': the sum of the singular values of a' b.

    Args:
        a: factor [D, r].
        b: factor [D, r].
        rank: of a' b at most, where that is known to be less than the r of both: centred embeddings sum to 0, and
            repeated ones add none. It spares the singular values; the result is the same.

    Returns:
        The trace.
    """
    cross = a.T @ b if a.shape[1] < b.shape[1] else b.T @ a  # [r, the larger r]
    rank = min(len(cross), len(cross) if rank is None else rank)
    if not rank:
        return 0.0
    gram = cross @ cross.T
    found = _sum_of_roots(gram, float(np.linalg.norm(gram)), rank)
    return float(np.linalg.svd(cross, compute_uv=False).sum()) if found is None else found


def factor(covariance: np.ndarray) -> np.ndarray:
    """A factor [D, r] of a covariance [D, D], which is a a' up to rounding, r its numerical rank.

    Cholesky with pivots (LAPACK pstrf), which stops where what is left is at most D eps times the largest variance.
    """
    if not covariance.any():
        return np.zeros((len(covariance), 0))
    lower, order, rank, info = dpstrf(covariance.T, lower=1)
    assert info >= 0, f"dpstrf: {info}"
    result = np.empty((len(covariance), rank))
    result[order - 1] = np.tril(lower)[:, :rank]
    return result


def _sum_of_roots(product: np.ndarray, scale: float, rank: int) -> float | None:
    """The sum of the square roots of the `rank` largest eigenvalues, the others being 0; None where it may be wrong.

    Args:
        product: symmetric [r, r], of which the lower triangle is read; it is overwritten.
        scale: to which the rounding of an eigenvalue is relative.
    """
    values = eigvalsh(product, lower=True, overwrite_a=True, check_finite=False)[-rank:]  # rising
    rounding = np.finfo(np.float64).eps * scale
    if values[0] <= CLEARLY * rounding:
        return None
    roots = np.sqrt(values)
    total = float(roots.sum())
    return total if 0.5 * rounding * float((1.0 / roots).sum()) <= ACCURACY * total else None
