"""A text encoder that needs no vocabulary and no pretrained weights: a small transformer over UTF-8 bytes.

Shape letters: B batch, L bytes, S summary tokens, W width.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from x_transformers import Encoder

from ...core.config import option
from ...layers.rotary import rotary_for_x_transformers
from ..conditions import is_given
from .base import Conditioner, ConditionerConfig, Encoding

logger = logging.getLogger(__name__)

ROTARY_BASE = 10_000.0


@dataclass(frozen=True, kw_only=True)
class ByteTextConfig(ConditionerConfig):
    """Sizes of the text encoder."""

    layers: int = option(2, "Number of transformer layers.")
    heads: int = option(4, "Number of attention heads; it divides the width into even parts.")
    max_bytes: int = option(256, "Longest text in bytes of UTF-8; longer ones are cut.")
    num_tokens: int = option(8, "Number of summary tokens per text.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.layers, self.heads, self.max_bytes, self.num_tokens) < 1:
            raise ValueError("layers, heads, max_bytes and num_tokens must be at least 1")

    def check(self, width: int) -> None:
        if width % self.heads or width // self.heads % 2:
            raise ValueError(f"heads {self.heads} must divide width {width} into even parts")


def text_to_bytes(text: str, max_bytes: int) -> tuple[bytes, bool]:
    """Returns the UTF-8 of a stripped text, cut between characters to at most `max_bytes`, and whether it was cut."""
    data = text.strip().encode("utf-8", errors="replace")
    if len(data) <= max_bytes:
        return data, False
    return data[:max_bytes].decode("utf-8", errors="ignore").encode("utf-8"), True


class ByteTextEncoder(Conditioner):
    """Learned summary tokens read the bytes of a text; they are the condition's tokens, their mean its vector.

    A fixed number of tokens keeps cross-attention cheap and gives a language model a prefix of constant length.
    """

    config_class = ByteTextConfig
    takes_any_value = True
    may_be_absent = True  # a generator can be made ready for prompts before its data has texts

    def __init__(self, width: int, config: ByteTextConfig):
        super().__init__(width, config)
        self.max_bytes, self.num_tokens, self.head_dim = config.max_bytes, config.num_tokens, width // config.heads
        self.num_truncated = 0  # texts cut to max_bytes since this object was made
        self.byte_embedding = nn.Embedding(256, width)
        self.summaries = nn.Parameter(torch.randn(self.num_tokens, width) * width**-0.5)
        self.null_tokens = nn.Parameter(torch.randn(self.num_tokens, width) * width**-0.5)
        self.encoder = Encoder(
            dim=width,
            depth=config.layers,
            heads=config.heads,
            attn_dim_head=self.head_dim,
            attn_flash=True,
            use_rmsnorm=True,
            ff_mult=2,
            ff_glu=True,
            ff_swish=True,
        )
        self.to_global = nn.Linear(width, width)
        nn.init.normal_(self.byte_embedding.weight, std=width**-0.5)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns padded bytes [B, L] int64 and their mask [B, L]; L is at least 1. A list of texts is joined."""
        cut = [text_to_bytes(_text(value), self.max_bytes) for value in values]
        truncated = sum(was_cut for _, was_cut in cut)
        if truncated and not self.num_truncated:
            logger.warning("text longer than %d bytes is cut; further cuts are counted, not logged", self.max_bytes)
        self.num_truncated += truncated
        longest = max(1, *(len(data) for data, _ in cut))
        lengths = torch.tensor([len(data) for data, _ in cut])
        return {
            "bytes": torch.tensor([list(data.ljust(longest, b"\0")) for data, _ in cut]),
            "mask": torch.arange(longest) < lengths[:, None],
        }

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns tokens [B, S, W] and vectors [B, W]; an empty text is one that is not given."""
        data, mask = prepared["bytes"], prepared["mask"]
        given = mask.any(1) & ~drop
        x = torch.cat([self.summaries.expand(len(data), -1, -1), self.byte_embedding(data)], 1)
        mask = torch.cat([mask.new_ones(len(data), self.num_tokens), mask], 1)
        x = self.encoder(
            x,
            self_attn_kv_mask=mask,
            rotary_pos_emb=rotary_for_x_transformers(x.shape[1], self.head_dim, ROTARY_BASE, x),
        )
        # the norm at the encoder's end gives entries near 1, in which the null tokens and other vectors would drown
        tokens = x[:, : self.num_tokens] * x.shape[-1] ** -0.5
        tokens = torch.where(given[:, None, None], tokens, self.null_tokens.to(tokens.dtype))
        return Encoding(vector=self.to_global(tokens.mean(1)), cross=tokens)


def _text(value: Any) -> str:
    if not is_given(value):
        return ""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
