"""Latents as the codec gives them <-> latents of mean 0 and standard deviation 1 per channel.

Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..base import LatentBatch, TokenizerBinding


def check_latents(latents: Tensor, binding: TokenizerBinding) -> None:
    """Raises ValueError unless `latents` are floats [B, T, D] of the codec that the generator was made for."""
    spec = binding.spec
    if latents.ndim != 3 or latents.shape[-1] != spec.latent_dim or not latents.is_floating_point():
        raise ValueError(
            f"latents must be float [B, T, {spec.latent_dim}] of {spec.name}, "
            f"got {latents.dtype} of shape {tuple(latents.shape)}: are they of another tokenizer?"
        )
    if latents.shape[1] == 0 or latents.shape[1] % spec.chunk_latents:
        raise ValueError(f"{latents.shape[1]} latent frames are not whole chunks of {spec.chunk_latents}")


def normalise(latents: Tensor, binding: TokenizerBinding) -> Tensor:
    """Returns latents [B, T, D] of the codec as normalised ones, float32."""
    check_latents(latents, binding)
    mean, std = _statistics(binding, latents.device)
    return (latents.float() - mean) / std


def training_latents(batch: LatentBatch, binding: TokenizerBinding) -> tuple[Tensor, Tensor]:
    """Returns the normalised latents [B, T, D] of a batch, 0 in padding, and the mask [B, T] bool of real frames.

    Args:
        batch: its latents as the codec gives them.
        binding: of the generator that learns from them.

    Raises:
        ValueError: no latents, latents of another codec, or an item without a real frame.
    """
    if batch.latents is None:
        raise ValueError(
            "this generator needs latents, but the batch has none: encode the dataset with its latent stream"
        )
    clean, mask = normalise(batch.latents, binding), batch.latent_mask
    if mask is None:
        mask = torch.ones(clean.shape[:2], dtype=torch.bool, device=clean.device)
    if not mask.any(1).all():
        raise ValueError("an item of the batch has no real latent frame: its mask is False throughout")
    return clean.masked_fill(~mask[..., None], 0.0), mask


def denormalise(latents: Tensor, binding: TokenizerBinding) -> Tensor:
    """Returns the codec's latents of normalised ones: the inverse of `normalise`."""
    mean, std = _statistics(binding, latents.device)
    return latents.float() * std + mean


def _statistics(binding: TokenizerBinding, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.tensor(binding.latent_mean, device=device), torch.tensor(binding.latent_std, device=device)
