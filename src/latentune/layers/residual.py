"""Residual vector quantisation with given codebooks: each adds an entry to what those before it said.

Shape letters: D width of a vector, Q codebooks, S entries of one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_entries(vectors: Tensor, codebooks: Tensor) -> Tensor:
    """Vectors [..., D] to tokens [..., Q] int64: by codebook [Q, S, D] the entry nearest to what is left."""
    rest, tokens = vectors, []
    for book in codebooks:
        tokens.append(torch.cdist(rest, book, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1))
        rest = rest - book[tokens[-1]]
    return torch.stack(tokens, -1)


def sum_of_entries(tokens: Tensor, codebooks: Tensor) -> Tensor:
    """Tokens [..., Q], all of them within the codebooks [Q, S, D], to vectors [..., D]."""
    return torch.stack([book[one] for book, one in zip(codebooks, tokens.unbind(-1), strict=True)]).sum(0)
