"""A text encoder that needs no vocabulary and no pretrained weights: a small transformer over UTF-8 bytes.

Shape letters: B batch, L bytes, S summary tokens, W width.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from x_transformers import Encoder

from ...layers.rotary import rotary_for_x_transformers
from ..base import Conditions
from .base import Conditioner, EncodedConditions

logger = logging.getLogger(__name__)

ROTARY_BASE = 10_000.0


def text_to_bytes(text: str, max_bytes: int) -> tuple[bytes, bool]:
    """UTF-8 of a stripped text, cut between characters to at most `max_bytes`; and whether it was cut."""
    data = text.strip().encode("utf-8", errors="replace")
    if len(data) <= max_bytes:
        return data, False
    return data[:max_bytes].decode("utf-8", errors="ignore").encode("utf-8"), True


class ByteTextEncoder(Conditioner):
    """Learned summary tokens read the bytes of a text; they are the condition's tokens, their mean its vector.

    A fixed number of tokens keeps cross-attention cheap and gives a language model a prefix of constant length.
    """

    def __init__(self, width: int, layers: int, heads: int, max_bytes: int, num_tokens: int):
        super().__init__()
        self.max_bytes, self.num_tokens, self.head_dim = max_bytes, num_tokens, width // heads
        self.num_truncated = 0  # texts cut to max_bytes since this object was made
        self.byte_embedding = nn.Embedding(256, width)
        self.summaries = nn.Parameter(torch.randn(num_tokens, width) * width**-0.5)
        self.null_tokens = nn.Parameter(torch.randn(num_tokens, width) * width**-0.5)
        self.encoder = Encoder(
            dim=width,
            depth=layers,
            heads=heads,
            attn_dim_head=self.head_dim,
            attn_flash=True,
            use_rmsnorm=True,
            ff_mult=2,
            ff_glu=True,
            ff_swish=True,
        )
        self.to_global = nn.Linear(width, width)
        nn.init.normal_(self.byte_embedding.weight, std=width**-0.5)

    def forward(self, conditions: Conditions, drop_mask: Tensor) -> EncodedConditions:
        """Texts to tokens [B, S, W] and vectors [B, W]; an empty text is one that is not given."""
        data, mask = self._bytes(conditions.text)
        given = mask.any(1) & ~drop_mask.to(mask.device)
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
        return EncodedConditions(global_vector=self.to_global(tokens.mean(1)), tokens=tokens)

    def refuse(self, conditions: Conditions) -> None:
        """Any text will do."""

    def _bytes(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Padded bytes [B, L] int64 and their mask [B, L]; L is at least 1."""
        cut = [text_to_bytes(text, self.max_bytes) for text in texts]
        truncated = sum(was_cut for _, was_cut in cut)
        if truncated and not self.num_truncated:
            logger.warning("text longer than %d bytes is cut; further cuts are counted, not logged", self.max_bytes)
        self.num_truncated += truncated
        longest = max(1, *(len(data) for data, _ in cut))
        padded = torch.tensor([list(data.ljust(longest, b"\0")) for data, _ in cut])
        lengths = torch.tensor([len(data) for data, _ in cut])
        mask = torch.arange(longest) < lengths[:, None]
        device = self.summaries.device
        return padded.to(device), mask.to(device)
