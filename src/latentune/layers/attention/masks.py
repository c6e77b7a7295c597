"""Attention masks as small objects: which keys a query sees, stated without building a [T, S] tensor.

A pattern depends on positions alone; key padding depends on the items of a batch, and may be combined with a pattern.
Shape letters: B batch, T queries, S keys.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Position = TypeVar("Position", int, Tensor)
FAR = 2**30  # positions before a query that "all before it" means; half of an int32, which kernels compute in


class Pattern(ABC):
    """A query sees all keys from a first to a last position; neither bound decreases from one query to the next."""

    @abstractmethod
    def bounds(self, query: Position) -> tuple[Position, Position]:
        """Returns the positions of the first and the last key that a query at position `query` sees.

        They may lie outside the keys there are. Integers and integer tensors are accepted alike.
        """

    @property
    def period(self) -> int:
        """The bounds of a query that many positions later are the same, shifted by as much."""
        return 1

    def sees_all(self, first_query: int, num_queries: int, num_keys: int) -> bool:
        """Returns whether every one of the queries sees every key, so that no mask is needed.

        Args:
            first_query: position of the first query among the keys.
            num_queries: T.
            num_keys: S.

        Returns:
            True if the pattern hides nothing.
        """
        return self.bounds(first_query + num_queries - 1)[0] <= 0 and self.bounds(first_query)[1] >= num_keys - 1


@dataclass(frozen=True)
class Causal(Pattern):
    """A query sees the key at its own position and all keys before it."""

    def bounds(self, query: Position) -> tuple[Position, Position]:
        return query - FAR, query


@dataclass(frozen=True)
class ChunkCausal(Pattern):
    """A query sees all keys of its own chunk and of the chunks before it; key 0 is the first of a chunk."""

    chunk_size: int  # positions
    past_chunks: int | None = None  # chunks before its own that a query sees; None: all

    def __post_init__(self) -> None:
        if self.chunk_size < 1 or (self.past_chunks is not None and self.past_chunks < 0):
            raise ValueError(
                f"chunk_size must be at least 1 and past_chunks None or at least 0, got {self.chunk_size} and "
                f"{self.past_chunks}"
            )

    def bounds(self, query: Position) -> tuple[Position, Position]:
        chunk = query // self.chunk_size
        first = query - FAR if self.past_chunks is None else (chunk - self.past_chunks) * self.chunk_size
        return first, (chunk + 1) * self.chunk_size - 1

    @property
    def period(self) -> int:
        return self.chunk_size


@dataclass(frozen=True)
class SlidingWindow(Pattern):
    """A query at position t sees the keys at t - before ... t + after."""

    before: int
    after: int

    def __post_init__(self) -> None:
        if min(self.before, self.after) < 0:
            raise ValueError(
                f"window must be (before, after), neither of them negative, got {(self.before, self.after)}"
            )

    def bounds(self, query: Position) -> tuple[Position, Position]:
        return query - self.before, query + self.after


@dataclass(frozen=True)
class Documents(Pattern):
    """Items set end to end: a query of an item sees keys of that item, and none of the others."""

    lengths: tuple[int, ...]  # queries of each item
    key_lengths: tuple[int, ...] | None = None  # keys of each item; None: as many as queries
    inner: Pattern | None = None  # which keys of its item a query sees, by their positions in it; None: all

    def __post_init__(self) -> None:
        keys = self.lengths if self.key_lengths is None else self.key_lengths
        if not self.lengths or len(keys) != len(self.lengths) or min(self.lengths) < 1 or min(keys) < 0:
            raise ValueError(f"documents need lengths of at least 1, each with its keys, got {self.lengths} and {keys}")
        if self.inner is not None and self.key_lengths is not None:
            raise ValueError("documents with a pattern inside have as many keys as queries: leave key_lengths out")

    @property
    def items(self) -> list[tuple[slice, slice]]:
        """Queries and keys of each item."""
        return list(zip(_slices(self.lengths), _slices(self.key_lengths or self.lengths), strict=True))

    def bounds(self, query: Position) -> tuple[Position, Position]:
        if isinstance(query, int):
            queries, keys = next(item for item in self.items if query < item[0].stop)
            if self.inner is None:
                return keys.start, keys.stop - 1
            low, high = self.inner.bounds(query - queries.start)
            return max(low + keys.start, keys.start), min(high + keys.start, keys.stop - 1)
        first, last = self._tables(query.device)
        place = query.clamp(0, len(first) - 1)  # kernels look beyond the end
        return first[place], last[place]

    def _tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Returns the first and the last key of each query, [queries] each."""
        repeats = torch.tensor(self.lengths)
        firsts = torch.tensor([keys.start for _, keys in self.items]).repeat_interleave(repeats)
        lasts = torch.tensor([keys.stop - 1 for _, keys in self.items]).repeat_interleave(repeats)
        if self.inner is not None:
            low, high = self.inner.bounds(torch.arange(len(firsts)) - firsts)
            firsts, lasts = torch.maximum(firsts, firsts + low), torch.minimum(lasts, firsts + high)
        return firsts.to(device), lasts.to(device)


def _slices(lengths: tuple[int, ...]) -> list[slice]:
    ends = list(itertools.accumulate(lengths))
    return [slice(end - length, end) for end, length in zip(ends, lengths, strict=True)]


@dataclass(frozen=True, eq=False)
class KeyPadding:
    """Keys that are padding are seen by no query; among the other keys, a query sees those that `pattern` allows."""

    seen: Tensor  # [B, S] bool, True where a key is real
    pattern: Pattern | None = None

    def __post_init__(self) -> None:
        if self.seen.ndim != 2 or self.seen.dtype != torch.bool:
            shape = tuple(self.seen.shape)
            raise ValueError(f"key padding must be a bool tensor [B, S], got {self.seen.dtype} of shape {shape}")

    @classmethod
    def from_lengths(cls, lengths: Tensor, num_keys: int, pattern: Pattern | None = None) -> KeyPadding:
        """Returns the mask of items whose first `lengths` keys are real.

        Args:
            lengths: [B] real keys of each item.
            num_keys: S.
            pattern: which of the real keys a query sees; None: all.

        Returns:
            The mask, on the device of `lengths`.
        """
        return cls(torch.arange(num_keys, device=lengths.device) < lengths[:, None], pattern)


Mask = Pattern | KeyPadding
