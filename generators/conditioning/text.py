"""A text encoder that needs no vocabulary and no pretrained weights: a small transformer over UTF-8 bytes.

Shape letters: B batch, P parts of a text, L bytes of a part, S summary tokens, W width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...core.config import option
from .base import ConditionerConfig, Encoding, as_text, padded_length
from .summary import SummaryConditioner


@dataclass(frozen=True, kw_only=True)
class ByteTextConfig(ConditionerConfig):
    """Sizes of the text encoder."""

    layers: int = option(2, "Number of transformer layers.")
    heads: int = option(4, "Number of attention heads; it divides the width into even parts.")
    max_bytes: int = option(
        256, "Bytes of UTF-8 that are read at once. A longer text is read in parts, whose summaries are averaged."
    )
    num_tokens: int = option(8, "Number of summary tokens per text.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.layers, self.heads, self.num_tokens) < 1:
            raise ValueError("layers, heads and num_tokens must be at least 1")
        if self.max_bytes < 4:
            raise ValueError(f"max_bytes must hold the 4 bytes of any character, got {self.max_bytes}")

    def check(self, width: int) -> None:
        if width % self.heads or width // self.heads % 2:
            raise ValueError(f"heads {self.heads} must divide width {width} into even parts")


def text_parts(text: str, max_bytes: int) -> list[bytes]:
    """Returns the UTF-8 of a stripped text in parts of at most `max_bytes`; a blank text has none.

    A part ends between words where it can, and always between characters.
    """
    data, parts = text.strip().encode("utf-8", errors="replace"), []
    while len(data) > max_bytes:
        end = data.rfind(b" ", 1, max_bytes + 1)
        if end < 0:
            end = len(data[:max_bytes].decode("utf-8", errors="ignore").encode("utf-8"))
        parts.append(data[:end].rstrip())
        data = data[end:].lstrip()
    return [*parts, data] if data else parts


class ByteTextEncoder(SummaryConditioner):
    """Summary tokens of the bytes of a text; those of a text in several parts are averaged."""

    config_class = ByteTextConfig
    takes_any_value: ClassVar[bool] = True
    may_be_absent: ClassVar[bool] = True  # a generator can be made ready for prompts before its data has texts
    draws_one: ClassVar[bool] = True

    def __init__(self, width: int, config: ByteTextConfig):
        super().__init__(width, config)
        self.max_bytes = config.max_bytes
        self.byte_embedding = nn.Embedding(256, width)
        self._make_summaries(width, config.layers, config.heads, config.num_tokens)
        nn.init.normal_(self.byte_embedding.weight, std=width**-0.5)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns padded bytes [B, P, L] int64 and their mask [B, P, L]; L is a power of two up to `max_bytes`."""
        texts = [text_parts(as_text(value), self.max_bytes) for value in values]
        most = max(1, *map(len, texts))
        length = padded_length(max((len(part) for parts in texts for part in parts), default=0), self.max_bytes)
        rows = [[*parts, *[b""] * (most - len(parts))] for parts in texts]
        lengths = torch.tensor([[len(part) for part in parts] for parts in rows])
        return {
            "bytes": torch.tensor([[list(part.ljust(length, b"\0")) for part in parts] for parts in rows]),
            "mask": torch.arange(length) < lengths[..., None],
        }

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns tokens [B, S, W] and vectors [B, W]; an empty text is one that is not given."""
        mask = prepared["mask"]
        there = mask.any(2)  # [B, P]
        given = there.any(1) & ~drop
        parts = self._summarize(self.byte_embedding(prepared["bytes"].flatten(0, 1)), mask.flatten(0, 1))
        share = there / there.sum(1, keepdim=True).clamp_min(1)
        tokens = (parts.unflatten(0, there.shape) * share[..., None, None].to(parts.dtype)).sum(1)
        return self._encoding(tokens, given)
