"""How well a token stream uses its codebooks (TAAE, arXiv 2411.19842, appendix A.8): entropy, Huffman code, usage.

Works on any tokenizer's tokens, in arrays or in the shards of a dataset, and keeps only the entries that occur: a
codebook of 17^6 = 24 million entries takes as much memory as the tokens that occur.

Shape letters: Q codebooks, U entries of a codebook that occur.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .....core.errors import DatasetError
from .....layers.bits import entry_bits
from .....layers.fsq import check_indices, indices_to_digits

if TYPE_CHECKING:
    from ....data.shards.read import LatentDataset

BLOCK_TOKENS = 1 << 18  # tokens of a codebook that are counted at once


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Statistics of how evenly the entries of an alphabet occur."""

    size: int  # entries that could occur
    num_used: int  # entries that do
    entropy_bits: float  # of their frequencies

    @property
    def used_share(self) -> float:
        """The share of the entries that occur, 0 to 1."""
        return self.num_used / self.size

    @property
    def normalised_entropy(self) -> float:
        """The entropy over that of uniform use, log2(size); 1 where every entry occurs equally often."""
        return self.entropy_bits / math.log2(self.size)


@dataclass(frozen=True, kw_only=True)
class CodebookUsage(Usage):
    """Figures of one codebook. With fewer tokens than entries, entropy and usage are underestimates."""

    num_tokens: int
    huffman_bits: float  # mean length of a token in the Huffman code of these tokens, without the code's table
    digits: tuple[Usage, ...]  # of each FSQ dimension of the codebook


@dataclass(frozen=True, kw_only=True)
class TokenAnalysis:
    """Figures of a token stream."""

    codebooks: tuple[CodebookUsage, ...]
    token_rate_hz: float

    @property
    def entropy_bitrate_bps(self) -> float:
        """The bits per second that the codebooks carry, each on its own; no code of single tokens can be shorter."""
        return self.token_rate_hz * sum(book.entropy_bits for book in self.codebooks)

    @property
    def huffman_bitrate_bps(self) -> float:
        """The bits per second of the stream with each codebook's tokens in their Huffman code."""
        return self.token_rate_hz * sum(book.huffman_bits for book in self.codebooks)

    @property
    def packed_bitrate_bps(self) -> float:
        """The bits per second of the stream with tokens in whole bits (`TokenizerSpec.packed_bitrate_bps`)."""
        return self.token_rate_hz * sum(entry_bits(book.size) for book in self.codebooks)

    def to_dict(self) -> dict[str, Any]:
        """Returns all figures, ready for JSON."""
        return {
            "packed_bitrate_bps": self.packed_bitrate_bps,
            "entropy_bitrate_bps": self.entropy_bitrate_bps,
            "huffman_bitrate_bps": self.huffman_bitrate_bps,
            "codebooks": [
                _usage_dict(book) | {"digits": [_usage_dict(digit) for digit in book.digits]} for book in self.codebooks
            ],
        }


FEW_TOKENS = "few tokens for codebooks of this size: entropy and usage come out too low"


def too_few_tokens(analysis: dict[str, Any] | None) -> bool:
    """Returns whether `FEW_TOKENS` holds for a result of `TokenAnalysis.to_dict`; None stands for no tokens."""
    return analysis is not None and any(book["num_tokens"] < 10 * book["size"] for book in analysis["codebooks"])


def analyse_dataset(dataset: LatentDataset) -> TokenAnalysis:
    """Returns the figures of all tokens of a dataset, counted block by block from its shards.

    Raises:
        DatasetError: the dataset holds no tokens, or a shard holds tokens that the codec does not have.
    """
    if "tokens" not in dataset.streams:
        raise DatasetError(f"{dataset.path} holds no tokens: encode with `--stream tokens` to analyse them")
    counts = TokenCounts(dataset.spec.levels)
    for shard in dataset.shards:
        tokens = shard.array("tokens")
        for begin in range(0, len(tokens), BLOCK_TOKENS):
            block = torch.from_numpy(tokens[begin : begin + BLOCK_TOKENS].astype(np.int64))
            try:
                counts.add(block)
            except ValueError as error:
                raise DatasetError(f"shard {shard.path} is corrupt: {error}") from error
    if not counts.num_tokens:
        raise DatasetError(f"{dataset.path} holds no items yet: there are no tokens to analyze")
    return counts.analysis(dataset.spec.token_rate_hz)


class TokenCounts:
    """Counts of the entries of each codebook that occur.

    Args:
        levels: per codebook, the FSQ levels of each digit (`TokenizerSpec.levels`).
    """

    def __init__(self, levels: Sequence[Sequence[int]]):
        self.levels = tuple(tuple(sizes) for sizes in levels)
        self.num_tokens = 0  # of each codebook
        self._books = [SparseCounts() for _ in self.levels]

    def add(self, tokens: Tensor) -> None:
        """Counts tokens [..., Q]; raises ValueError if they cannot be of these codebooks."""
        if tokens.ndim < 1 or tokens.shape[-1] != len(self.levels):
            raise ValueError(f"tokens must be [..., {len(self.levels)}], got shape {tuple(tokens.shape)}")
        rows = tokens.detach().cpu().reshape(-1, len(self.levels))
        for codes, sizes in zip(rows.unbind(1), self.levels, strict=True):
            check_indices(codes, math.prod(sizes))
        for codes, book in zip(rows.unbind(1), self._books, strict=True):
            book.add(codes.to(torch.int64).numpy())
        self.num_tokens += len(rows)

    def analysis(self, token_rate_hz: float) -> TokenAnalysis:
        """Returns the figures of the tokens that were counted; raises ValueError if there were none."""
        if not self.num_tokens:
            raise ValueError("there are no tokens to analyze")
        books = [_codebook_usage(*book.total(), sizes) for book, sizes in zip(self._books, self.levels, strict=True)]
        return TokenAnalysis(codebooks=tuple(books), token_rate_hz=token_rate_hz)


class SparseCounts:
    """Counts of the numbers that occur.

    Counts are kept in sorted pieces, each more than twice as long as the next one, so that counting n numbers takes
    n log(n) steps in any order, and memory for a few times the numbers that occur.
    """

    def __init__(self) -> None:
        self._pieces: list[tuple[np.ndarray, np.ndarray]] = []  # (numbers rising, their counts)

    def add(self, numbers: np.ndarray) -> None:
        """Counts the integers of an array."""
        if not numbers.size:
            return
        self._pieces.append(np.unique(numbers, return_counts=True))
        while len(self._pieces) > 1 and len(self._pieces[-2][0]) <= 2 * len(self._pieces[-1][0]):
            self._pieces.append(_merge(self._pieces.pop(), self._pieces.pop()))

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the numbers that occurred, rising, and their counts: [U] int64 each."""
        while len(self._pieces) > 1:
            self._pieces.append(_merge(self._pieces.pop(), self._pieces.pop()))
        return self._pieces[0] if self._pieces else (np.zeros(0, np.int64), np.zeros(0, np.int64))


def entropy_bits(counts: np.ndarray) -> float:
    """Returns the entropy in bits of the frequencies that counts [U] give: -sum p log2 p."""
    counts = counts[counts > 0]
    shares = counts / counts.sum()
    return max(0.0, -float(np.sum(shares * np.log2(shares))))


def huffman_bits(counts: np.ndarray) -> float:
    """Returns the mean length in bits of the Huffman code of symbols that occur `counts` [U] times.

    It is the sum of the weights of the tree's inner nodes over that of its leaves, so the tree need not be kept. With
    the entropy H it lies in [H, H + 1); it is 0 for a single symbol, which needs no bits.
    """
    heap = [int(count) for count in counts if count > 0]
    total, inner = sum(heap), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        weight = heapq.heappop(heap) + heap[0]
        heapq.heapreplace(heap, weight)
        inner += weight
    return inner / total


def _merge(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    numbers = np.concatenate([a[0], b[0]])
    order = np.argsort(numbers, kind="stable")
    numbers = numbers[order]
    begins = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    return numbers[begins], np.add.reduceat(np.concatenate([a[1], b[1]])[order], begins)


def _codebook_usage(entries: np.ndarray, counts: np.ndarray, sizes: Sequence[int]) -> CodebookUsage:
    digits = indices_to_digits(torch.from_numpy(entries), sizes).numpy()  # [U, d]
    per_digit = [
        np.bincount(digits[:, k], weights=counts, minlength=size)  # float64: exact below 2**53 tokens
        for k, size in enumerate(sizes)
    ]
    return CodebookUsage(
        size=math.prod(sizes),
        num_used=len(entries),
        entropy_bits=entropy_bits(counts),
        num_tokens=int(counts.sum()),
        huffman_bits=huffman_bits(counts),
        digits=tuple(
            Usage(size=size, num_used=int((times > 0).sum()), entropy_bits=entropy_bits(times))
            for size, times in zip(sizes, per_digit, strict=True)
        ),
    )


def _usage_dict(usage: Usage) -> dict[str, Any]:
    derived = {"used_share": usage.used_share, "normalised_entropy": usage.normalised_entropy}
    return {key: value for key, value in asdict(usage).items() if key != "digits"} | derived
