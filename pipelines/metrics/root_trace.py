"""Tr (A B)^1/2 of two covariances: the part of the Fréchet distance that is not elementary.

The eigenvalues of A B are those of L' B L with A = L L', and the squares of the singular values of L' K with B = K K'.
Either way no complex root of a product that is not symmetric is taken, as `scipy.linalg.sqrtm` of A B would: that takes
some ten times as long and fails on singular products. Shape letters: D width of an embedding, r rank.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigvalsh
from scipy.linalg.lapack import dpocon, dpotrf, dpstrf, dsygst

# Of the product of both reciprocal condition numbers. Squares of singular values lose what lies below eps times the
# largest: above this bound less than 1e-9 of the trace; below it the singular values themselves are computed.
WELL_CONDITIONED = 1e-16


def root_trace(a: np.ndarray, b: np.ndarray) -> float:
    """Tr (A B)^1/2 of two positive semidefinite matrices [D, D], float64.

    Well-conditioned ones go through a symmetric eigenvalue problem (LAPACK potrf, sygst, syevr), all others, singular
    ones included, through `factor` and singular values.
    """
    lower_a, lower_b = _cholesky(a), _cholesky(b)
    if lower_a is not None and lower_b is not None and lower_a[1] * lower_b[1] > WELL_CONDITIONED:
        product, info = dsygst(b.T, lower_a[0], itype=2, lower=1)
        assert info == 0, f"dsygst: {info}"
        values = eigvalsh(product, lower=True, overwrite_a=True, check_finite=False)
        return float(np.sqrt(np.maximum(values, 0.0)).sum())
    return factors_trace(factor(a), factor(b))


def factors_trace(a: np.ndarray, b: np.ndarray) -> float:
    """Tr (A B)^1/2 where A = a a' and B = b b', of factors [D, r]: the sum of the singular values of a' b."""
    if not a.shape[1] or not b.shape[1]:
        return 0.0
    return float(np.linalg.svd(a.T @ b, compute_uv=False).sum())


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


def _cholesky(covariance: np.ndarray) -> tuple[np.ndarray, float] | None:
    """The lower Cholesky factor and an estimate of the reciprocal condition number; None for a singular matrix."""
    lower, info = dpotrf(covariance.T, lower=1)  # the transpose of a symmetric matrix is the same in Fortran's order
    if info:
        return None
    reciprocal, _ = dpocon(lower, np.abs(covariance).sum(0).max(), uplo="L")
    return lower, float(reciprocal)
