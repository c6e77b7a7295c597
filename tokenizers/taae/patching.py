"""Conversion between audio and frames of whole patches (arXiv 2411.19842): a reshape, with nothing learned."""

from __future__ import annotations

from torch import Tensor


def audio_to_patches(audio: Tensor, patch_samples: int) -> Tensor:
    """Returns patches [B, N / patch_samples, C * patch_samples] of audio [B, C, N]; samples of a channel stay together.

    Raises:
        ValueError: N is not a multiple of patch_samples.
    """
    if audio.shape[-1] % patch_samples:
        raise ValueError(f"audio of {audio.shape[-1]} samples is not a whole number of {patch_samples}-sample patches")
    patches: Tensor = audio.unflatten(2, (-1, patch_samples)).transpose(1, 2).flatten(2)
    return patches  # [B, T, C * P]


def patches_to_audio(patches: Tensor, patch_samples: int) -> Tensor:
    """Inverts `audio_to_patches`: [B, T, C * patch_samples] to [B, C, T * patch_samples].

    Raises:
        ValueError: the width is not a multiple of patch_samples.
    """
    if patches.shape[-1] % patch_samples:
        raise ValueError(f"patches of {patches.shape[-1]} features are not a multiple of {patch_samples} samples")
    audio: Tensor = patches.unflatten(2, (-1, patch_samples)).transpose(1, 2).flatten(2)
    return audio  # [B, C, T * P]
