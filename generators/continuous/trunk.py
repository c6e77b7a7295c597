"""The causal transformer of the continuous autoregression.

Shape letters: B batch, n positions of a piece of a sequence, S positions so far, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...layers.attention import Causal, KeyPadding, attend
from ...layers.cache import KVCache
from ...layers.mlp import GatedMLP
from ...layers.norm import RMSNorm
from ...layers.rotary import rotary_angles, rotate_pairs


class TrunkBlock(nn.Module):
    """Causal self-attention and a gated MLP, each behind a norm. Keys and queries are normalised and rotated."""

    def __init__(self, width: int, heads: int, mlp_hidden: int):
        super().__init__()
        self.heads = heads
        self.norm_attention, self.norm_mlp = RMSNorm(width), RMSNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)
        self.to_out = nn.Linear(width, width, bias=False)
        self.mlp = GatedMLP(width, mlp_hidden)

    def forward(self, x: Tensor, angles: Tensor, seen: Tensor | None, cache: KVCache | None) -> Tensor:
        """Returns the next hidden states [B, n, W].

        Args:
            x: [B, n, W] of positions that follow those of the cache.
            angles: [n, head_dim / 2] of the rotary positions.
            seen: [B, S] bool, True where a position is real; None: all are.
            cache: of the positions before, to which these are added; None: there are none.
        """
        heads = self.to_qkv(self.norm_attention(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = heads.permute(2, 0, 3, 1, 4)
        q, k = rotate_pairs(self.norm_q(q), angles).to(v.dtype), rotate_pairs(self.norm_k(k), angles).to(v.dtype)
        if cache is not None:
            cache.append(k, v)
            k, v = cache.keys, cache.values
        mask = Causal() if seen is None else KeyPadding(seen, Causal())
        attended = attend(q, k, v, mask, first_query=k.shape[2] - q.shape[2])
        x = x + self.to_out(attended.transpose(1, 2).flatten(2))
        added: Tensor = self.mlp(self.norm_mlp(x))
        return x + added


class Trunk(nn.Module):
    """Blocks and a norm over a sequence that may arrive in pieces."""

    def __init__(self, width: int, depth: int, heads: int, mlp_hidden: int, rotary_base: float):
        super().__init__()
        self.heads, self.head_dim, self.rotary_base = heads, width // heads, rotary_base
        self.blocks = nn.ModuleList(TrunkBlock(width, heads, mlp_hidden) for _ in range(depth))
        self.norm = RMSNorm(width)

    def forward(self, x: Tensor, seen: Tensor | None = None, caches: list[KVCache] | None = None) -> Tensor:
        """Returns hidden states [B, n, W], each of its own and all earlier positions.

        Args:
            x: [B, n, W] embeddings of positions that follow those of the caches.
            seen: [B, S] bool, True where a position is real; None: all are.
            caches: one per block; None: the sequence starts here.
        """
        first = 0 if caches is None else caches[0].end_position
        positions = torch.arange(first, first + x.shape[1], device=x.device)
        angles = rotary_angles(positions, self.head_dim, self.rotary_base)
        for number, block in enumerate(self.blocks):
            x = block(x, angles, seen, None if caches is None else caches[number])
        hidden: Tensor = self.norm(x)
        return hidden

    def make_caches(self, batch: int, capacity: int) -> list[KVCache]:
        """Returns empty caches of all blocks, for B items of at most `capacity` positions."""
        like = self.norm.weight
        return [
            KVCache(batch, self.heads, self.head_dim, capacity, dtype=like.dtype, device=like.device)
            for _ in self.blocks
        ]
