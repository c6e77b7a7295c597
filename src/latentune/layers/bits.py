"""Tokens as packed bits: each in the fewest whole bits that hold every entry of its codebook.

A frame's tokens follow each other in the order of the codebooks, frames in the order of time, most significant bit
first; the last byte is filled with zeros. Shape letters: T token frames, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .fsq import check_indices

MAX_BITS = 63  # of one token: int64 without its sign


def entry_bits(codebook_size: int) -> int:
    """Returns the bits of one token of a codebook: ceil(log2(size)), exact for every size; 0 for a single entry."""
    if codebook_size < 1:
        raise ValueError(f"a codebook has at least 1 entry, got {codebook_size}")
    return (codebook_size - 1).bit_length()


def packed_bytes(num_frames: int, codebook_sizes: Sequence[int]) -> int:
    """Returns the number of bytes that `pack_tokens` makes of `num_frames` token frames."""
    return -(-num_frames * sum(map(entry_bits, codebook_sizes)) // 8)


def pack_tokens(tokens: Tensor, codebook_sizes: Sequence[int]) -> bytes:
    """Returns tokens [T, Q] as `packed_bytes(T, codebook_sizes)` bytes.

    Raises:
        TypeError: the tokens are not integers.
        ValueError: another number of codebooks, or a token out of its codebook's range.
    """
    widths = _widths(codebook_sizes)
    if tokens.ndim != 2 or tokens.shape[1] != len(widths):
        raise ValueError(f"tokens must be [T, {len(widths)}], got shape {tuple(tokens.shape)}")
    for codes, size in zip(tokens.unbind(1), codebook_sizes, strict=True):
        check_indices(codes, size)
    array = tokens.detach().cpu().to(torch.int64).numpy()
    bits = [((array[:, q, None] >> _shifts(width)) & 1).astype(np.uint8) for q, width in enumerate(widths)]
    return np.packbits(np.concatenate(bits, 1)).tobytes()


def unpack_tokens(data: bytes, codebook_sizes: Sequence[int], num_frames: int) -> Tensor:
    """Inverts `pack_tokens`.

    Args:
        data: the packed bytes.
        codebook_sizes: entries of each codebook.
        num_frames: T.

    Returns:
        Tokens [T, Q] int64.

    Raises:
        ValueError: bytes of another length, padding that is not zero, or a token out of its codebook's range: the data
            are of other codebooks, or corrupt.
    """
    widths = _widths(codebook_sizes)
    if num_frames < 0 or len(data) != packed_bytes(num_frames, codebook_sizes):
        raise ValueError(
            f"{num_frames} frames of codebooks {tuple(codebook_sizes)} take "
            f"{packed_bytes(max(0, num_frames), codebook_sizes)} bytes, got {len(data)}"
        )
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    used = num_frames * sum(widths)
    if bits[used:].any():
        raise ValueError("the bits after the last token are not zero: data of other codebooks, or corrupt")
    rows = bits[:used].reshape(num_frames, sum(widths))
    parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
    tokens = [
        torch.from_numpy((part.astype(np.int64) << _shifts(width)).sum(1))
        for part, width in zip(parts, widths, strict=True)
    ]
    for codes, size in zip(tokens, codebook_sizes, strict=True):
        check_indices(codes, size)
    return torch.stack(tokens, 1)


def _widths(codebook_sizes: Sequence[int]) -> list[int]:
    widths = [entry_bits(size) for size in codebook_sizes]
    if not widths or max(widths) > MAX_BITS:
        raise ValueError(f"one or more codebooks of at most {MAX_BITS} bits can be packed, got {tuple(codebook_sizes)}")
    return widths


def _shifts(width: int) -> np.ndarray:
    """Returns the places of a token's bits, the most significant one first."""
    return np.arange(width - 1, -1, -1, dtype=np.int64)
