"""Earlier frames of a chunk-causal transformer as inputs and outputs of a graph.

Shape letters: B batch, T frames of a block, S slots of earlier frames, H heads, E features of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .past import View


class GivenKeys:
    """Keys and values [B, H, S, E] of one layer for earlier frames."""

    own: tuple[Tensor, Tensor]  # keys and values of the frames that followed

    def __init__(self, keys: Tensor, values: Tensor):
        self.keys, self.values = keys, values

    def followed_by(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns all keys and values, and remembers those [B, H, T, E] that follow."""
        self.own = k, v
        return torch.cat([self.keys, k], 2), torch.cat([self.values, v], 2)


class GivenFrames:
    """Earlier frames, as `past.EarlierFrames`. All frames of the block are real.

    Args:
        first_frame: [1] int64, number of the first frame of the block.
        seen: [B, S] float32, 1 where the block sees a slot and 0 elsewhere.
        keys: [layers, B, H, S, E].
        values: [layers, B, H, S, E].
        num_frames: T.
    """

    def __init__(self, first_frame: Tensor, seen: Tensor, keys: Tensor, values: Tensor, num_frames: int):
        self.position = first_frame
        self.layers = [GivenKeys(k, v) for k, v in zip(keys.unbind(0), values.unbind(0), strict=True)]
        seen = F.pad(seen, (0, num_frames), value=1.0)
        self.bias = torch.where(seen > 0, 0.0, -torch.inf)[:, None, None]  # [B, 1, 1, S + T]

    def views(self, mask: Tensor | None, store: bool) -> list[View]:
        """Returns what the frames of the block see, one view per layer; what is kept is for the caller."""
        return [View(bias=self.bias, earlier=layer) for layer in self.layers]

    def own(self) -> tuple[Tensor, Tensor]:
        """Returns the keys and values [layers, B, H, T, E] of the block itself, after a pass."""
        keys, values = zip(*(layer.own for layer in self.layers), strict=True)
        return torch.stack(keys), torch.stack(values)
