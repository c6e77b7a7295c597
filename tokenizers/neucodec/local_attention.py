"""Transformer with causal attention in windows, as in DistillNeuCodec's acoustic encoder.

The frames are cut into windows of W frames. A query sees the frames of its own window up to itself, and all of the
window before: W + 1 to 2 W frames once there are so many, not a sliding window. The distance of a key enters through a
bias that a small network computes from it; nothing else encodes positions.

Shape letters: B batch, T frames, D width, H heads, E features of a head, W frames of a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.attention import attend
from ...layers.mlp import gated_product

BLOCK_QUERIES = 256  # queries of one attention call: keys that lie in the future of all of them are never touched


class LocalTransformer(nn.Module):
    """Attention and gated MLP, `depth` times, with one distance bias for all layers.

    Args:
        window: W.
        position_width: hidden features of the network that makes the bias.
    """

    def __init__(self, width: int, depth: int, heads: int, head_dim: int, window: int, position_width: int):
        super().__init__()
        self.window = window
        self.distance_bias = DistanceBias(position_width, heads)
        self.layers = nn.ModuleList(LocalLayer(width, heads, head_dim) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        bias = self.distance_bias(min(x.shape[1], 2 * self.window), x.device)
        for layer in self.layers:
            x = layer(x, bias, self.window)
        return x


class DistanceBias(nn.Module):
    """The bias of an attention score for the distance of its key in frames, for each head."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, heads)])

    def forward(self, count: int, device: torch.device) -> Tensor:
        """Bias [H, count] of the distances 0 ... count - 1.

        In float32 also under autocast, because bfloat16 cannot distinguish 1001 frames from 1000.
        """
        with torch.autocast(device.type, enabled=False):
            x = torch.arange(count, dtype=torch.float32, device=device)[:, None]
            for index, layer in enumerate(self.layers):
                assert isinstance(layer, nn.Linear)
                x = F.linear(F.silu(x) if index else x, layer.weight.float(), layer.bias.float())
        return x.T


class LocalLayer(nn.Module):
    """Pre-norm attention in windows and gated MLP, each added to what came in."""

    def __init__(self, width: int, heads: int, head_dim: int):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_dim, bias=False)
        self.attention_out = nn.Linear(heads * head_dim, width, bias=False)
        self.mlp_norm = nn.LayerNorm(width)
        hidden = 8 * width // 3
        self.mlp_up = nn.Linear(width, 2 * hidden, bias=False)
        self.mlp_down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor, window: int) -> Tensor:
        """x [B, T, D] and the distances' bias [H, min(T, 2 W)] -> [B, T, D]."""
        parts = self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = local_attention(q, k, v, bias, window)
        x = x + self.attention_out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp_down(gated_product(self.mlp_up(self.mlp_norm(x)), "gelu", gate_first=False))
        return out


def local_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, window: int) -> Tensor:
    """Softmax attention with scale 1 / sqrt(E) of q, k, v [B, H, T, E]: a query sees its window up to itself and the
    window before.

    No more is computed than that, and never a mask of more than BLOCK_QUERIES x 2 W: time and memory are linear in T,
    and a signal shorter than a window costs what it is long.

    Args:
        bias: [H, min(T, 2 W) or more], added to the score of a key at that distance.
        window: W.

    Returns:
        [B, H, T, E].
    """
    num_frames = q.shape[2]
    if bias.shape[-1] < min(num_frames, 2 * window):
        raise ValueError(f"bias of {bias.shape[-1]} distances, but keys lie up to {min(num_frames, 2 * window)} apart")
    bias, blocks = bias.to(q.dtype), []
    for first in range(0, num_frames, window):
        for start in range(first, min(first + window, num_frames), BLOCK_QUERIES):
            stop = min(start + BLOCK_QUERIES, first + window, num_frames)
            seen = slice(max(first - window, 0), stop)
            mask = causal_bias(bias, stop - start, stop - seen.start)
            blocks.append(attend(q[:, :, start:stop], k[:, :, seen], v[:, :, seen], bias=mask))
    return torch.cat(blocks, dim=2)


def causal_bias(bias: Tensor, num_queries: int, num_keys: int) -> Tensor:
    """Mask [H, num_queries, num_keys] out of the distances' bias [H, num_keys or more]; the last query is at the last
    key, and keys after a query are hidden.
    """
    future = bias.new_full((len(bias), num_queries - 1), -torch.inf)
    # distance num_keys - 1 first, 0, then what lies in the future: row r of the mask is a window on this line
    line = torch.cat([bias[:, :num_keys].flip(-1), future], dim=-1)
    return line.unfold(-1, num_keys, 1).flip(1)
