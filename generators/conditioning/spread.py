"""Symbols of a text laid out over the frames of an item, each as long as its weight says.

Shape letters: B batch, S symbols, T frames, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_shares(weights: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
    """Returns how much of each frame belongs to each symbol.

    The frames and the symbols of an item are two divisions of one line; a share is how far a symbol covers a frame. So
    every symbol has frames, also where there are more symbols than frames, and their order is kept. Shares have a
    gradient with respect to the weights.

    Args:
        weights: [B, S] lengths of symbols relative to each other, 0 where there is none, which come last.
        lengths: [B] frames of each item.
        num_frames: T, of the longest item.

    Returns:
        Shares [B, T, S] float32. Those of a frame add up to 1, beyond the end of an item to 0.
    """
    weights = weights.float()
    until = weights.cumsum(1)
    frames_per_weight = lengths[:, None] / until[:, -1:]
    ends, starts = until * frames_per_weight, (until - weights) * frames_per_weight
    frame = torch.arange(num_frames, device=weights.device, dtype=ends.dtype)[:, None]
    covered = torch.minimum(frame + 1.0, ends[:, None]) - torch.maximum(frame, starts[:, None])
    inside = (torch.arange(num_frames, device=weights.device) < lengths[:, None])[..., None]
    real = (weights > 0)[:, None]
    shares: Tensor = covered.clamp_min(0.0).masked_fill(~(inside & real), 0.0)
    return shares


def lay_out(symbols: Tensor, weights: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
    """Returns vectors of frames [B, T, W], each the mean of the symbols that cover it.

    With equal weights this is the average upsampling of ZipVoice (arXiv 2506.13053).

    Args:
        symbols: [B, S, W].
        weights: [B, S], as of `frame_shares`; at least one per item is above 0.
        lengths: [B] frames of each item.
        num_frames: T, of the longest item.
    """
    return frame_shares(weights, lengths, num_frames).to(symbols.dtype) @ symbols
