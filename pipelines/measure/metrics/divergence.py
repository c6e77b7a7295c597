"""Kullback-Leibler divergences of what a classifier says of real and of generated audio.

Per pair, as AudioGen and MusicGen report it (audiocraft's KLD with PaSST): KL(reference || generated) of each pair's
posteriors, eps = 1e-6 added to the generated one inside the logarithm, mean over pairs. Of marginals: the same of the
mean posteriors of both sets, for files that do not pair.
Shape letters: n files, W windows of one file, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import rel_entr

from .sets import as_embeddings, as_files

EPS = 1e-6


def kl_divergence(reference: Any, generated: Any, *, eps: float = EPS, multilabel: bool = False) -> np.ndarray:
    """KL(reference || generated) [n] in nats of posteriors [n, K], row by row.

    Args:
        eps: added to the generated side's probabilities inside the logarithm, as audiocraft does: the divergence stays
            finite where the generated side excludes a class. Posteriors nearly equal would so come out up to K eps
            below 0 (2 K eps with `multilabel`), which no divergence of distributions is: such rows give 0.
        multilabel: the classes do not exclude each other (sigmoid outputs, such as tags): each is a Bernoulli
            distribution of its own, and the divergence is the sum over the K.

    Returns:
        The divergence of each row, [n].

    Raises:
        ValueError: different shapes, no row, values outside 0..1, or rows that do not sum to 1 without `multilabel`.
    """
    p, q = _posteriors(reference, "reference", multilabel), _posteriors(generated, "generated", multilabel)
    if p.shape != q.shape or not len(p):
        raise ValueError(f"posteriors must be of one shape [n >= 1, K], got {p.shape} and {q.shape}")
    if not 0.0 <= eps < 1.0:
        raise ValueError(f"eps must be in 0..1, got {eps}")
    divergence: np.ndarray = rel_entr(p, q + eps).sum(1)
    if multilabel:
        divergence += rel_entr(1.0 - p, 1.0 - q + eps).sum(1)
    return divergence.clip(min=0.0)


def paired_kl(
    reference: Sequence[Any], generated: Sequence[Any], *, eps: float = EPS, multilabel: bool = False
) -> np.ndarray:
    """Computes the divergence in nats of each generated file from its reference file, [F].

    Args:
        reference: posteriors [W, K] of each file. The windows of a file are averaged first, so that files of a pair may
            differ in length.
        generated: the same of the other set, in the same order.
        eps: as in `kl_divergence`.
        multilabel: as in `kl_divergence`.

    Returns:
        The divergence of each file; the mean over files is what papers report.

    Raises:
        ValueError: as `kl_divergence`, or unequal numbers of files.
    """
    if len(reference) != len(generated):
        raise ValueError(f"files must pair, got {len(reference)} reference and {len(generated)} generated files")
    sides = as_files(reference, "reference"), as_files(generated, "generated")
    p, q = (np.stack([values.mean(0) for values in side]) for side in sides)
    return kl_divergence(p, q, eps=eps, multilabel=multilabel)


def marginal_kl(reference: Any, generated: Any, *, eps: float = EPS, multilabel: bool = False) -> float:
    """Computes the divergence of the mean posteriors of two sets, for files that do not pair.

    Args:
        reference: posteriors [n, K].
        generated: posteriors [m, K].
        eps: as in `kl_divergence`.
        multilabel: as in `kl_divergence`.

    Returns:
        The divergence in nats.

    Raises:
        ValueError: as `kl_divergence`.
    """
    p, q = _posteriors(reference, "reference", multilabel), _posteriors(generated, "generated", multilabel)
    if not len(p) or not len(q):
        raise ValueError(f"posteriors must be [n >= 1, K], got {p.shape} and {q.shape}")
    return float(kl_divergence(p.mean(0)[None], q.mean(0)[None], eps=eps, multilabel=multilabel)[0])


def _posteriors(values: Any, name: str, multilabel: bool) -> np.ndarray:
    p = as_embeddings(values, f"{name} posteriors")
    if p.size and (p.min() < -1e-6 or p.max() > 1.0 + 1e-6):
        raise ValueError(f"{name} posteriors must be in 0..1, got {p.min():.3g}..{p.max():.3g}: give probabilities")
    p = p.clip(0.0, 1.0)  # of rounding alone
    if not multilabel and p.size and np.abs(p.sum(1) - 1.0).max() > 1e-3:
        far = p.sum(1)[np.abs(p.sum(1) - 1.0).argmax()]
        raise ValueError(
            f"{name} posteriors must sum to 1 in each row, one sums to {far:.3g}: normalise them, or pass "
            "multilabel=True for classes that do not exclude each other"
        )
    return p
