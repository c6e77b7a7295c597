"""The noise of decoding, a function of (item, chunk, draw): the order of the work does not change the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ...core.random import keyed_seed
from .config import CoDiCodecConfig

PROMPT_DRAW = 1_000_000  # number of the draw that re-noises the previous chunk; beyond any number of steps

Key = tuple[int, int]  # item and chunk


class Noise(Protocol):
    """Standard normal noise [2C, F, L] of one chunk of one item; draw 0 is the start, draw k is added after step k."""

    def __call__(self, item: int, chunk: int, draw: int) -> Tensor: ...


class SeededNoise:
    """Noise keyed by position: each item takes one seed from the generator, in the order of the batch."""

    def __init__(self, config: CoDiCodecConfig, items: int, generator: torch.Generator | None):
        self.shape = (config.spectrum_channels, config.num_bins, config.chunk_frames)
        device = generator.device if generator is not None else "cpu"
        self.seeds = torch.randint(2**62, (items,), generator=generator, device=device).tolist()
        self.generator = torch.Generator(device=device)

    def __call__(self, item: int, chunk: int, draw: int) -> Tensor:
        self.generator.manual_seed(keyed_seed(self.seeds[item], chunk, draw))
        return torch.randn(self.shape, generator=self.generator, device=self.generator.device)


def batch_noise(noise: Noise, keys: Sequence[Key], draw: int, like: Tensor) -> Tensor:
    """Draws the noise of many chunks and copies it to the network's device at once.

    Args:
        noise: the source.
        keys: item and chunk of each row.
        draw: number of the draw.
        like: a tensor on the device and of the dtype of the result.

    Returns:
        [M, 2C, F, L].
    """
    rows = torch.stack([noise(item, chunk, draw) for item, chunk in keys])
    if like.is_cuda and not rows.is_cuda:
        rows = rows.pin_memory()  # from other memory the host waits until the GPU has done all that it was given before
    return rows.to(like.device, like.dtype, non_blocking=True)
