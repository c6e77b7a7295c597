"""Attention masks of a packed batch in a diffusion transformer.

Shape letters: B batch, T latent frames of the longest item, N real frames of all items, S condition tokens, W width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...layers.attention import Documents
from ..parts.packing import Packing
from .past import View, chunk_pattern, doubled_bias

if TYPE_CHECKING:
    from .config import DiffusionTransformerConfig


def packed_frames(config: DiffusionTransformerConfig, packing: Packing, doubled: bool, like: Tensor) -> View:
    """Returns what packed frames see of each other: of their own item, what they see in a batch with padding.

    Args:
        config: of the transformer.
        packing: of the frames.
        doubled: each item holds its clean frames (`Past`) and the same frames noisy.
        like: of the dtype and device of the scores.
    """
    if not doubled:
        return View(mask=Documents(packing.lengths, inner=chunk_pattern(config)))
    halves = [length // 2 for length in packing.lengths]
    return View(mask=Documents(packing.lengths), bias=tuple(doubled_bias(config, frames, like) for frames in halves))


def packed_tokens(packing: Packing, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, View]:
    """Returns condition tokens [B, S, W] packed to [1, M, W], and what packed frames see of them.

    Args:
        packing: of the frames.
        tokens: of each item.
        mask: [B, S] bool, True where a token is real; None: all are.
    """
    if mask is None:
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    real = Packing.of(mask)
    return real.pack(tokens), View(mask=Documents(packing.lengths, real.lengths))
