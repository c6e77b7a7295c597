"""A text as the words in it, whatever their order. Shape letters: B batch, S words of the longest text, W width.

A word's vector is learned from a handful of captions that have it, where a transformer over bytes first has to learn
what a word is. That suits small datasets whose captions are made of few words.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...core.config import option
from .base import Conditioner, ConditionerConfig, Encoding, as_text, padded_length

logger = logging.getLogger(__name__)

PADDED_WORDS = 2**16  # up to which a batch is padded to a power of two


@dataclass(frozen=True, kw_only=True)
class WordsConfig(ConditionerConfig):
    """Size of the table."""

    rows: int = option(
        4096, "Rows of the table of words. A word's row is a hash of it, so that two words share one now and then."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows < 1:
            raise ValueError(f"rows must be at least 1, got {self.rows}")


def words_of(value: Any) -> list[str]:
    """Returns the words of a text in lower case, without signs between them."""
    words: list[str] = re.findall(r"\w+", as_text(value).casefold())
    return words


class WordsConditioner(Conditioner):
    """The sum of a learned vector per word, and a learned null for a text without words.

    The vectors start at zero and only those of words in the training data are learned, so that any other word has no
    effect.
    """

    config_class = WordsConfig
    takes_any_value: ClassVar[bool] = True
    may_be_absent: ClassVar[bool] = True
    draws_one: ClassVar[bool] = True

    def __init__(self, width: int, config: WordsConfig):
        super().__init__(width, config)
        self.rows = config.rows
        self.table = nn.Embedding(config.rows, width)
        nn.init.zeros_(self.table.weight)
        self.null = nn.Parameter(torch.randn(width) * width**-0.5)
        self._reported: set[str] = set()

    def row(self, word: str) -> int:
        """Returns the row of a word."""
        return zlib.crc32(word.encode("utf-8", errors="replace")) % self.rows

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns rows [B, S] int64 of the words and their mask [B, S]; S is a power of two up to 65,536."""
        rows = [[self.row(word) for word in words_of(value)] for value in values]
        longest = max(map(len, rows))
        length = padded_length(longest, max(longest, PADDED_WORDS))
        counts = torch.tensor([len(own) for own in rows])
        return {
            "rows": torch.tensor([[*own, *[0] * (length - len(own))] for own in rows]),
            "mask": torch.arange(length) < counts[:, None],
        }

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns vectors [B, W]."""
        mask = prepared["mask"]
        words = self.table(prepared["rows"])
        vector = (words * mask[..., None].to(words.dtype)).sum(1)
        given = (mask.any(1) & ~drop)[:, None]
        return Encoding(vector=torch.where(given, vector, self.null.to(vector.dtype)))

    def unlearned(self, values: Sequence[Any]) -> list[str]:
        """Returns the words of texts that the training data did not have."""
        words = dict.fromkeys(word for value in values for word in words_of(value))
        return [word for word in words if not self.table.weight[self.row(word)].any()]

    def report(self, values: Sequence[Any]) -> None:
        new = [word for word in self.unlearned(values) if word not in self._reported]
        self._reported.update(new)
        if new:
            logger.warning(
                "the training data of this generator did not have the words %s: they have no effect", ", ".join(new)
            )
