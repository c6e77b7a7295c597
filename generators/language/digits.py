"""Tokens as their FSQ digits: embedding them, and an exact distribution over them.

An FSQ codebook of 11^4 = 14641 entries has 4 digits of 11 levels. A table and a softmax over entries would need 14641
rows, most of them rarely seen; over digits it takes 44, and neighbouring levels share what they learn. Nothing is lost:
p(token) = product over k of p(digit_k | digits before k, past). The codebooks of one time step are set end to end along
the digit axis, so parallel codebooks are modelled jointly too.

Shape letters: B batch, T' token frames, Q codebooks, K digits of all codebooks, L most levels of a digit, W width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...layers.fsq import digits_to_indices, indices_to_digits
from ...layers.norm import RMSNorm
from ...tokenizers.spec import TokenizerSpec

IMPOSSIBLE = -1e9  # logit of a level that a digit does not have; finite, so that guidance can subtract


def check_tokens(tokens: Tensor, spec: TokenizerSpec) -> None:
    """Raises ValueError unless `tokens` [B, T', Q] has the codec's number of codebooks and whole chunks."""
    if tokens.ndim != 3 or tokens.shape[-1] != spec.tokens_per_frame:
        raise ValueError(
            f"tokens must be [B, T', {spec.tokens_per_frame}] of {spec.name}, got shape {tuple(tokens.shape)}: "
            "are they of another tokenizer?"
        )
    if tokens.shape[1] == 0 or tokens.shape[1] % spec.chunk_tokens:
        raise ValueError(f"{tokens.shape[1]} token frames are not whole chunks of {spec.chunk_tokens}")


def tokens_to_digits(tokens: Tensor, levels: Sequence[Sequence[int]]) -> Tensor:
    """Returns the digits [..., K] int64 of tokens [..., Q].

    Raises:
        ValueError: a token out of its codebook's range.
    """
    parts = [indices_to_digits(codes, sizes) for codes, sizes in zip(tokens.unbind(-1), levels, strict=True)]
    return torch.cat(parts, -1)


def digits_to_tokens(digits: Tensor, levels: Sequence[Sequence[int]]) -> Tensor:
    """Returns the tokens [..., Q] of digits [..., K]: the inverse of `tokens_to_digits`."""
    parts = digits.split([len(sizes) for sizes in levels], -1)
    return torch.stack([digits_to_indices(part, sizes) for part, sizes in zip(parts, levels, strict=True)], -1)


class DigitEmbedding(nn.Module):
    """Embeds digits as the sum of a learned vector for each digit's level."""

    def __init__(self, levels: Sequence[int], width: int):
        super().__init__()
        self.table = nn.Embedding(sum(levels), width)
        nn.init.normal_(self.table.weight, std=width**-0.5)
        rows = torch.tensor([sum(levels[:k]) for k in range(len(levels))])
        self.first_row: Tensor
        self.register_buffer("first_row", rows, persistent=False)

    def forward(self, digits: Tensor) -> Tensor:
        """Returns the embedding [..., W] of digits [..., K]."""
        return self.each(digits).sum(-2)

    def each(self, digits: Tensor) -> Tensor:
        """Returns the vectors [..., K, W] of digits [..., K], before the sum."""
        vectors: Tensor = self.table(digits + self.first_row)
        return vectors


class DigitHead(nn.Module):
    """p(digit_k | hidden state, digits before k): a small residual network on hidden state + sum of earlier digits.

    The network is shared by all places, each of which adds a learned vector and has output weights of its own.
    """

    def __init__(self, hidden_width: int, levels: Sequence[int], width: int):
        super().__init__()
        self.levels = tuple(levels)
        count, most = len(levels), max(levels)
        self.from_hidden = nn.Linear(hidden_width, width)
        self.earlier = DigitEmbedding(levels, width)
        self.place = nn.Parameter(torch.randn(count, width) * width**-0.5)
        self.network = nn.Sequential(
            RMSNorm(width), nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width)
        )
        self.norm = RMSNorm(width)
        self.weight = nn.Parameter(torch.zeros(count, width, most))  # zero: training starts from uniform digits
        absent = torch.arange(most) >= torch.tensor(levels)[:, None]
        self.absent: Tensor
        self.register_buffer("absent", absent, persistent=False)  # [K, L] bool
        self.bias = nn.Parameter(torch.zeros(count, most))

    def forward(self, hidden: Tensor, digits: Tensor) -> Tensor:
        """Returns logits [..., K, L] float32 of each digit of hidden states [..., W] with true digits [..., K]."""
        embedded = self.earlier.each(digits)
        earlier = embedded.cumsum(-2) - embedded  # of the digits before k alone
        x = self.from_hidden(hidden).unsqueeze(-2) + earlier + self.place
        x = self.norm(x + self.network(x))
        logits = torch.einsum("...kw,kwl->...kl", x, self.weight.to(x.dtype)).float() + self.bias.float()
        logits = logits.masked_fill(self.absent, IMPOSSIBLE)
        return logits
