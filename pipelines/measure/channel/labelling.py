"""Tokens as bits on a channel, word by word: an FSQ digit in natural binary or Gray code, or a whole token.

A word represents one digit (or one token) in the fewest whole bits. Where the number of levels is not a power of two,
some words have no level; if they are received, they are read as the nearest level, which is the highest, and counted.

Shape letters: T token frames, Q codebooks, W words of a frame, L levels of a word.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ....layers.bits import entry_bits, pack_tokens, unpack_tokens
from ....layers.fsq import digits_to_indices, indices_to_digits

Code = Literal["natural", "gray", "index"]
CODES: tuple[Code, ...] = ("natural", "gray", "index")


def gray_encode(numbers: Tensor) -> Tensor:
    """Returns the reflected binary code of integers of any shape: that of n and n + 1 differs in one bit."""
    return numbers ^ (numbers >> 1)


def gray_decode(words: Tensor) -> Tensor:
    """Returns the integers of Gray code words of less than 64 bits: the inverse of `gray_encode`."""
    for shift in (1, 2, 4, 8, 16, 32):
        words = words ^ (words >> shift)
    return words


@dataclass(frozen=True)
class Labelling:
    """A way to write the tokens of a frame as bits.

    Codebooks follow each other in order, the digits of a codebook from the most significant one down. So natural binary
    of levels that are powers of two is, bit for bit, the token packed as a whole (`pack_tokens`).
    """

    levels: tuple[tuple[int, ...], ...]  # of each codebook's digits, as in `TokenizerSpec.levels`
    code: Code = "natural"  # of a digit: natural or gray; index: each token as one number, in natural binary

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise ValueError(f"no labelling {self.code!r}: known are {', '.join(CODES)}")
        if not self.levels:
            raise ValueError("this tokenizer has no tokens (no quantizer): there is nothing to send")

    @property
    def word_levels(self) -> tuple[int, ...]:
        """The levels of each of the W words of a frame, in the order in which they are sent."""
        if self.code == "index":
            return tuple(math.prod(levels) for levels in self.levels)
        return tuple(size for levels in self.levels for size in reversed(levels))

    @property
    def word_bits(self) -> tuple[int, ...]:
        """The bits of each word."""
        return tuple(map(entry_bits, self.word_levels))

    @property
    def bits_per_frame(self) -> int:
        """The bits of all words of a frame."""
        return sum(self.word_bits)

    def tokens_to_digits(self, tokens: Tensor) -> Tensor:
        """Returns the digits (or, for `index`, the tokens) [T, W] of tokens [T, Q], one per word.

        Raises:
            ValueError: another number of codebooks, or a token out of its codebook's range.
            TypeError: tokens that are not integers.
        """
        if tokens.ndim != 2 or tokens.shape[1] != len(self.levels):
            raise ValueError(f"tokens must be [T, {len(self.levels)}], got shape {tuple(tokens.shape)}")
        pairs = list(zip(tokens.unbind(1), self.levels, strict=True))
        digits = [indices_to_digits(codes, sizes).flip(-1) for codes, sizes in pairs]
        return tokens.to(torch.int64) if self.code == "index" else torch.cat(digits, 1)

    def digits_to_tokens(self, digits: Tensor) -> Tensor:
        """Returns the tokens [T, Q] of digits [T, W]: the inverse of `tokens_to_digits`."""
        if self.code == "index":
            return digits
        parts = digits.split([len(sizes) for sizes in self.levels], 1)
        books = zip(parts, self.levels, strict=True)
        return torch.stack([digits_to_indices(part.flip(-1), sizes) for part, sizes in books], 1)

    def tokens_to_bits(self, tokens: Tensor) -> Tensor:
        """Returns tokens [T, Q] as bits [T, bits_per_frame] bool, the most significant bit of each word first.

        Raises:
            ValueError, TypeError: as `tokens_to_digits`.
        """
        digits = self.tokens_to_digits(tokens).cpu()
        data = pack_tokens(self._to_words(digits), self._word_sizes)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=len(digits) * self.bits_per_frame)
        return torch.from_numpy(bits).bool().reshape(len(digits), self.bits_per_frame)

    def bits_to_tokens(self, bits: Tensor) -> tuple[Tensor, int]:
        """Returns the tokens [T, Q] of bits [T, bits_per_frame], or [bits], and the number of words without a level.

        Raises:
            ValueError: bits that are not a whole number of frames.
            TypeError: bits that are not bool.
        """
        digits, num_invalid = self._read(bits)
        return self.digits_to_tokens(digits), num_invalid

    def split_words(self, bits: Tensor) -> tuple[Tensor, ...]:
        """Splits values of each bit [T, bits_per_frame] into those of the W words [T, bits of the word]."""
        parts: tuple[Tensor, ...] = bits.split(list(self.word_bits), 1)
        return parts

    def codewords(self, word: int) -> Tensor:
        """Returns the bits [L, bits] bool of every level of word `word` of a frame."""
        return codeword_bits(self.word_levels[word], self.code)

    def _read(self, bits: Tensor) -> tuple[Tensor, int]:
        if bits.dtype != torch.bool:
            raise TypeError(f"bits must be bool, got {bits.dtype}")
        width = self.bits_per_frame
        if bits.ndim not in (1, 2) or (bits.ndim == 2 and bits.shape[1] != width) or bits.numel() % width:
            raise ValueError(
                f"a frame takes {width} bits in labelling {self.code!r}, so bits must be [T, {width}] or a multiple of "
                f"{width} in a row; got shape {tuple(bits.shape)}: lost bits, or another tokenizer's?"
            )
        num_frames = bits.numel() // width
        data = np.packbits(bits.cpu().numpy()).tobytes()
        words = unpack_tokens(data, self._word_sizes, num_frames)
        digits = gray_decode(words) if self.code == "gray" else words
        top = torch.tensor(self.word_levels) - 1
        return torch.minimum(digits, top), int((digits > top).sum())

    def _to_words(self, digits: Tensor) -> Tensor:
        return gray_encode(digits) if self.code == "gray" else digits

    @property
    def _word_sizes(self) -> list[int]:
        """The number of words that can be received, including those without a level."""
        return [2**bits for bits in self.word_bits]


def codeword_bits(num_levels: int, code: Code, num_bits: int | None = None) -> Tensor:
    """Returns the bits of the levels 0..L-1.

    Args:
        num_levels: L.
        code: natural or gray.
        num_bits: of a word; by default the fewest that hold all levels.

    Returns:
        [L, num_bits] bool, the most significant bit first.
    """
    digits = torch.arange(num_levels)
    words = gray_encode(digits) if code == "gray" else digits
    width = entry_bits(num_levels) if num_bits is None else num_bits
    return (words[:, None] >> torch.arange(width - 1, -1, -1) & 1).bool()


def read_words(num_bits: int, num_levels: int, code: Code) -> Tensor:
    """Returns the level as which each word is read, or the nearest level for a word that has none.

    Args:
        num_bits: of a word.
        num_levels: L.
        code: natural or gray.

    Returns:
        Levels [2 ** num_bits], by the number of the word.
    """
    words = torch.arange(2**num_bits)
    return (gray_decode(words) if code == "gray" else words).clamp_max(num_levels - 1)


def check_labellings(names: Sequence[str]) -> None:
    """Raises ValueError unless `names` are one or more different labellings."""
    for name in names:
        if name not in CODES:
            raise ValueError(f"no labelling {name!r}: known are {', '.join(CODES)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"name one or more different labellings of {', '.join(CODES)}; got {list(names)}")
