"""Decoded audio in pieces that overlap, as pieces that abut. Shape letters: C audio channels, n samples of a piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from torch import Tensor

Piece = tuple[int, int, Tensor]  # item, first sample, audio [C, n]


def joined(pieces: Iterable[Piece], overlap_samples: int, lead_samples: int) -> Iterator[Piece]:
    """Adds pieces where they overlap: the first samples of one on the last ones of the one before.

    Args:
        pieces: of any items, those of an item in the order of time. They are changed in place.
        overlap_samples: that neighbouring pieces of an item share.
        lead_samples: at the start of each item, which are left out.

    Yields:
        The same audio in pieces that abut, counted from the end of the lead. The ends of all items come last.
    """
    held: dict[int, tuple[int, Tensor]] = {}
    for item, start, piece in pieces:
        if item in held:
            piece[..., :overlap_samples] += held[item][1]
        whole = piece.shape[-1] - overlap_samples
        held[item] = start + whole, piece[..., whole:].clone()  # a view would keep the whole piece
        skipped = max(0, lead_samples - start)
        yield item, start + skipped - lead_samples, piece[..., skipped:whole]
    for item, (start, end) in held.items():
        yield item, start - lead_samples, end
