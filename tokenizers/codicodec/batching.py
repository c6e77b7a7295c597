"""How many chunks go through the network at once."""

from __future__ import annotations

from typing import Literal

import torch

MaxChunks = int | Literal["auto"] | None
# Default bound of the chunks that are processed together. On a GPU 32 take about 1 GB for the official size. On a CPU
# more than a few chunks do not fit its caches: 4 are encoded and decoded up to a third faster than 32.
MAX_CHUNKS = {"cpu": 4, "cuda": 32}


def chunk_bound(max_chunks: MaxChunks, device: torch.device) -> int | None:
    """Returns the largest number of chunks in one call of the network; None: no bound.

    Args:
        max_chunks: that number, None, or `auto` for what is fast on the device.
        device: of the network.

    Raises:
        ValueError: another text, or a number below 1.
    """
    if isinstance(max_chunks, str):
        if max_chunks != "auto":
            raise ValueError(f"max_chunks must be a number, None or 'auto', got {max_chunks!r}")
        return MAX_CHUNKS.get(device.type, MAX_CHUNKS["cuda"])
    if max_chunks is not None and max_chunks < 1:
        raise ValueError(f"max_chunks must be at least 1, got {max_chunks}")
    return max_chunks
