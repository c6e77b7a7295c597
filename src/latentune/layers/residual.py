"""Residual vector quantisation with given codebooks: each adds an entry that refines the sum of those before it.

Shape letters: D width of a vector, Q codebooks, S entries per codebook.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nearest_entries(vectors: Tensor, codebooks: Tensor) -> Tensor:
    """Returns tokens [..., Q] int64 of vectors [..., D]: per codebook [Q, S, D] the entry nearest to the remainder."""
    rest, tokens = vectors, []
    for book in codebooks:
        tokens.append(torch.cdist(rest, book, compute_mode="donot_use_mm_for_euclid_dist").argmin(-1))
        rest = rest - book[tokens[-1]]
    return torch.stack(tokens, -1)


def sum_of_entries(tokens: Tensor, codebooks: Tensor) -> Tensor:
    """Returns vectors [..., D] of tokens [..., Q], all of which must be within the codebooks [Q, S, D]."""
    return torch.stack([book[one] for book, one in zip(codebooks, tokens.unbind(-1), strict=True)]).sum(0)
