"""Transformer with causal attention in windows, as in DistillNeuCodec's acoustic encoder.

The frames are cut into windows of W frames. A query sees the frames of its own window up to itself, and all of the
window before: W + 1 to 2 W frames once there are so many, which is not a sliding window. A small network maps the
distance of a key to a bias; nothing else carries positions.

Shape letters: B batch, T frames, D width, H heads, E features of a head, W frames of a window.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.attention import attend
from ...layers.mlp import gated_product

BLOCK_QUERIES = 256  # queries per attention call: keys in the future of all of them are never read


class LocalTransformer(nn.Module):
    """Attention and gated MLP, `depth` times, with one distance bias for all layers.

    Args:
        width: D.
        depth: number of layers.
        heads: H.
        head_dim: E.
        window: W.
        position_width: hidden features of the network that makes the bias.
    """

    def __init__(self, width: int, depth: int, heads: int, head_dim: int, window: int, position_width: int):
        super().__init__()
        self.window = window
        self.distance_bias = DistanceBias(position_width, heads)
        self.layers = nn.ModuleList(LocalLayer(width, heads, head_dim) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, T, D] to [B, T, D]."""
        bias = self.distance_bias(min(x.shape[1], 2 * self.window), x.device)
        for layer in self.layers:
            x = layer(x, bias, self.window)
        return x


class DistanceBias(nn.Module):
    """The bias that is added to an attention score for its key's distance in frames, for each head."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(1, width), nn.Linear(width, width), nn.Linear(width, heads)])

    def forward(self, count: int, device: torch.device) -> Tensor:
        """Returns the bias [H, count] of the distances 0 ... count - 1.

        It is computed in float32 also under autocast, since bfloat16 does not distinguish 1001 frames from 1000.
        """
        with torch.autocast(device.type, enabled=False):
            x = torch.arange(count, dtype=torch.float32, device=device)[:, None]
            for index, layer in enumerate(self.layers):
                assert isinstance(layer, nn.Linear)
                x = F.linear(F.silu(x) if index else x, layer.weight.float(), layer.bias.float())
        return x.T


class LocalLayer(nn.Module):
    """Pre-norm attention in windows and gated MLP, each added to its input."""

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
        """Applies the layer.

        Args:
            x: [B, T, D].
            bias: [H, min(T, 2 W)] of the distances.
            window: W.

        Returns:
            [B, T, D].
        """
        parts = self.qkv(self.attention_norm(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = local_attention(q, k, v, bias, window)
        x = x + self.attention_out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = x + self.mlp_down(gated_product(self.mlp_up(self.mlp_norm(x)), "gelu", gate_first=False))
        return out


def local_attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, window: int) -> Tensor:
    """Computes softmax attention with scale 1 / sqrt(E) in which a query sees its window up to itself and the window
    before.

    Only visible blocks are computed, and a mask has at most BLOCK_QUERIES x 2 W entries: time and memory are linear in
    T, and a signal shorter than a window is not padded.

    Args:
        q: queries [B, H, T, E].
        k: keys [B, H, T, E].
        v: values [B, H, T, E].
        bias: [H, min(T, 2 W) or more], added to the score of a key at that distance.
        window: W.

    Returns:
        [B, H, T, E].

    Raises:
        ValueError: a bias of too few distances.
    """
    num_frames = q.shape[2]
    if bias.shape[-1] < min(num_frames, 2 * window):
        raise ValueError(f"bias of {bias.shape[-1]} distances, but keys are up to {min(num_frames, 2 * window)} apart")
    bias, blocks = bias.to(q.dtype), []
    for first in range(0, num_frames, window):
        for start in range(first, min(first + window, num_frames), BLOCK_QUERIES):
            stop = min(start + BLOCK_QUERIES, first + window, num_frames)
            seen = slice(max(first - window, 0), stop)
            mask = causal_bias(bias, stop - start, stop - seen.start)
            blocks.append(attend(q[:, :, start:stop], k[:, :, seen], v[:, :, seen], bias=mask))
    return torch.cat(blocks, dim=2)


def causal_bias(bias: Tensor, num_queries: int, num_keys: int) -> Tensor:
    """Returns the additive mask of a block whose last query is at the last key; keys after a query are hidden.

    Args:
        bias: [H, num_keys or more] of the distances.
        num_queries: of the block.
        num_keys: that the block sees.

    Returns:
        [H, num_queries, num_keys].
    """
    future = bias.new_full((len(bias), num_queries - 1), -torch.inf)
    # distances num_keys - 1 ... 0, then the future: row r of the mask is a window on this line
    line = torch.cat([bias[:, :num_keys].flip(-1), future], dim=-1)
    return line.unfold(-1, num_keys, 1).flip(1).contiguous()  # which the kernel reads twice as fast
