"""Learned summary tokens that read a sequence, as a condition.

Shape letters: B batch, L positions, S summary tokens, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from x_transformers import Encoder

from ...layers.rotary import rotary_for_x_transformers
from .base import Conditioner, Encoding

ROTARY_BASE = 10_000.0


class SummaryConditioner(Conditioner):
    """A small transformer over learned tokens and a sequence; the tokens are the condition's, their mean its vector.

    A fixed number of tokens keeps cross-attention cheap and gives a language model a prefix of constant length.
    """

    def _make_summaries(self, width: int, layers: int, heads: int, num_tokens: int) -> None:
        self.num_tokens, self.head_dim = num_tokens, width // heads
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

    def _summarize(self, x: Tensor, mask: Tensor) -> Tensor:
        """Returns the summary tokens [B, S, W] of embeddings [B, L, W], whose mask [B, L] is True where one is real."""
        x = torch.cat([self.summaries.expand(len(x), -1, -1), x], 1)
        mask = torch.cat([mask.new_ones(len(x), self.num_tokens), mask], 1)
        x = self.encoder(
            x,
            self_attn_kv_mask=mask,
            rotary_pos_emb=rotary_for_x_transformers(x.shape[1], self.head_dim, ROTARY_BASE, x),
        )
        # the norm at the encoder's end gives entries near 1, in which the null tokens and other vectors would drown
        summaries: Tensor = x[:, : self.num_tokens] * x.shape[-1] ** -0.5
        return summaries

    def _encoding(self, tokens: Tensor, given: Tensor) -> Encoding:
        """Returns tokens [B, S, W], those of items that are not `given` [B] as learned nulls, and their vector."""
        tokens = torch.where(given[:, None, None], tokens, self.null_tokens.to(tokens.dtype))
        return Encoding(vector=self.to_global(tokens.mean(1)), cross=tokens)
