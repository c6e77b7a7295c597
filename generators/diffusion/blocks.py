"""Blocks of the diffusion transformer. Shape letters: B batch, T latent frames, S condition tokens, W width."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...layers.attention import attend
from ...layers.mlp import GatedMLP
from ...layers.norm import RMSNorm
from ...layers.rotary import rotate_pairs
from .frame_times import spread
from .past import View


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys, over itself or over a context of another width."""

    def __init__(self, width: int, heads: int, context_width: int | None = None):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(context_width or width, 2 * width, bias=False)
        self.norm_q, self.norm_k = RMSNorm(width // heads), RMSNorm(width // heads)
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, view: View, *, context: Tensor | None = None, angles: Tensor | None = None) -> Tensor:
        """Returns what x [B, T, W] attends to in itself or in a context, [B, T, W].

        Args:
            x: [B, T, W].
            view: which keys are seen, those of earlier frames included.
            context: [B, S, W'], where it is not x itself that is attended to.
            angles: [T, head_dim / 2] of rotary positions, for self-attention.
        """
        q = self._split(self.to_q(x))
        k, v = (self._split(y) for y in self.to_kv(x if context is None else context).chunk(2, -1))
        q, k = self.norm_q(q), self.norm_k(k)
        if angles is not None:
            q, k = rotate_pairs(q, angles), rotate_pairs(k, angles)
        # under autocast the norms leave q and k in float32 while v is in half precision
        k, v = view.keys_and_values(k.to(v.dtype), v)
        out = attend(q.to(k.dtype), k, v, view.mask, bias=view.bias_as(k.dtype))
        projected: Tensor = self.to_out(out.transpose(1, 2).flatten(2))
        return projected

    def _split(self, x: Tensor) -> Tensor:
        split: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, T, head_dim]
        return split


class Block(nn.Module):
    """Self-attention, cross-attention, MLP; AdaLN-zero in the form shared by all blocks.

    One network gives the six modulations for all blocks and each block adds its own learned table (PixArt-alpha, arXiv
    2310.00426), which saves 6 W^2 weights per block against DiT (arXiv 2212.09748). Every branch starts as zero.
    """

    def __init__(self, width: int, heads: int, mlp_hidden: int, context_width: int | None):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(6, width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads)
        self.mlp = GatedMLP(width, mlp_hidden, names=("to_hidden", "to_out"))
        self.cross_norm = RMSNorm(width) if context_width else None
        self.cross_attention = Attention(width, heads, context_width) if context_width else None
        if self.cross_attention is not None:
            nn.init.zeros_(self.cross_attention.to_out.weight)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        weights: Tensor | None,
        view: View,
        angles: Tensor,
        context: Tensor,
        tokens: View,
    ) -> Tensor:
        """Returns the next hidden states [B, T, W].

        Args:
            x: [B, T, W].
            modulation: [B, K, 6, W] of the K times of an item, shared by all blocks.
            weights: [B, T, K] of `FrameTimes.weights`; None: K is 1 or T.
            view: what the frames see of each other.
            angles: [T, head_dim / 2] of rotary positions.
            context: [B, S, W'] condition tokens.
            tokens: which of the condition tokens the frames see.
        """
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = spread(modulation + self.table, weights).unbind(2)
        attended = self.attention(torch.addcmul(shift_a, self.norm(x), 1 + scale_a), view, angles=angles)
        x = torch.addcmul(x, gate_a, attended)
        if self.cross_attention is not None and self.cross_norm is not None:
            x = x + self.cross_attention(self.cross_norm(x), tokens, context=context)
        return torch.addcmul(x, gate_m, self.mlp(torch.addcmul(shift_m, self.norm(x), 1 + scale_m)))
