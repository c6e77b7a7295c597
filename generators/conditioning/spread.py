"""Symbols of a text laid out evenly over the frames of an item.

Shape letters: B batch, S symbols, T frames, W width.
"""

from __future__ import annotations

import torch
from torch import Tensor


def frame_shares(counts: Tensor, lengths: Tensor, num_symbols: int, num_frames: int) -> Tensor:
    """Returns how much of each frame belongs to each symbol where all symbols of an item last equally long.

    The frames and the symbols of an item are two divisions of one line; a share is how far a symbol covers a frame. So
    every symbol has frames, also where there are more symbols than frames, and their order is kept.

    Args:
        counts: [B] symbols of each item, at least 1.
        lengths: [B] frames of each item.
        num_symbols: S, of the longest text.
        num_frames: T, of the longest item.

    Returns:
        Shares [B, T, S] float32. Those of a frame add up to 1, beyond the end of an item to 0.
    """
    device = counts.device
    pace = (counts / lengths.clamp_min(1))[:, None, None]  # symbols per frame
    frame = torch.arange(num_frames, device=device)[:, None] * pace  # where it begins, in symbols
    symbol = torch.arange(num_symbols, device=device)
    covered = torch.minimum(frame + pace, symbol + 1.0) - torch.maximum(frame, symbol.float())
    inside = (torch.arange(num_frames, device=device) < lengths[:, None])[..., None]
    real = symbol < counts[:, None, None]
    shares: Tensor = (covered.clamp_min(0.0) / pace).masked_fill(~(inside & real), 0.0)
    return shares


def lay_out(symbols: Tensor, mask: Tensor, lengths: Tensor, num_frames: int) -> Tensor:
    """Returns vectors of frames [B, T, W], each the mean of the symbols that cover it (ZipVoice, arXiv 2506.13053).

    Even lengths are wrong for every single symbol, but near enough that a small network learns the rest quickly.

    Args:
        symbols: [B, S, W].
        mask: [B, S] bool, True where a symbol is real; real ones come first, at least one per item.
        lengths: [B] frames of each item.
        num_frames: T, of the longest item.
    """
    shares = frame_shares(mask.sum(1), lengths, symbols.shape[1], num_frames)
    return shares.to(symbols.dtype) @ symbols
