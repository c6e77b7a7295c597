"""The latents of given audio at their places in the items. Shape letters: B batch, T latent frames, D latent width."""

from __future__ import annotations

import torch
from torch import Tensor

from ..base import TokenizerBinding
from .normalise import check_latents
from .request import SampleRequest, lay_given


def known_latents(binding: TokenizerBinding, request: SampleRequest, like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the given latents of the codec laid into [B, T, D], and the mask [B, T] bool of where they lie.

    Args:
        binding: of the generator.
        request: which chunks are given.
        like: [B, T, D], whose shape, dtype and device the result has.

    Raises:
        ValueError: latents of another codec, fewer than are kept of them, or NaN or inf among them.
    """
    if request.encoded is None:
        return torch.zeros_like(like), torch.zeros(like.shape[:2], dtype=torch.bool, device=like.device)
    check_latents(request.encoded.latents, binding)
    known, where = lay_given(request.encoded.latents, request.keep, binding.spec.chunk_latents, like)
    if not torch.isfinite(known).all():
        raise ValueError("the given latents hold NaN or inf")
    return known, where
