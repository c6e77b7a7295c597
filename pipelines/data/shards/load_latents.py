"""From a planned item to its streams where the source holds latents: nothing is left to encode."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ....core.errors import ConfigError
from ....layers import fsq
from ....tokenizers.base import AudioTokenizer
from ..importers.pre_encoded import open_latents
from .ids import relative_reason
from .plan import Failure, PlannedItem
from .settings import LatentsAre, ShardSettings
from .shard import FILE_HASH, EncodedItem
from .source_files import SourceFiles


def load_latents(
    item: PlannedItem, files: SourceFiles, tokenizer: AudioTokenizer, settings: ShardSettings
) -> EncodedItem | Failure:
    """Reads the latents of an item, without their padding, and makes its tokens.

    Args:
        item: to read.
        files: that it is read from.
        tokenizer: the codec.
        settings: of the dataset, with what the latents are.

    Returns:
        The item as it goes into a shard, or a Failure with the reason.
    """
    assert settings.latents_are is not None
    spec, path = tokenizer.spec, files.path(item)
    num_samples = round(item.duration_s * spec.sample_rate)
    num_frames = spec.num_latents(num_samples)
    try:
        stored = open_latents(path, spec.latent_dim)  # type: ignore[arg-type]  # such a source is a local folder
        frames = _first_frames(stored, num_frames)
        latents = to_latents(frames, settings.latents_are, latent_scale(tokenizer))
        facts = {FILE_HASH: files.sha256(item)}
    except (OSError, ValueError) as error:
        return Failure(id=item.id, path=item.path, reason=relative_reason(error, path, item.path))
    tokens = None
    if "tokens" in settings.streams:
        with torch.inference_mode():
            tokens = tokenizer.latents_to_tokens(latents[None].to(tokenizer.device))[0].cpu()
    return EncodedItem(
        item=item,
        latents=latents.to(settings.latent_dtype) if "latents" in settings.streams else None,
        tokens=tokens,
        num_samples=num_samples,
        facts=facts,
    )


def _first_frames(stored: np.ndarray, num_frames: int) -> Tensor:
    """Returns frames [num_frames, D] float32 of an array [D, T]; raises ValueError if it has fewer."""
    if stored.shape[1] < num_frames:
        raise ValueError(f"it has {stored.shape[1]} frames, {num_frames} of whole chunks are needed")
    return torch.from_numpy(np.array(stored[:, :num_frames].T, np.float32))


def to_latents(frames: Tensor, latents_are: LatentsAre, scale: float) -> Tensor:
    """Returns latents [T, D] in the convention of `AudioTokenizer`.

    Args:
        frames: [T, D] as they were stored.
        latents_are: what they are: the bounded `values` of the bottleneck, or their `atanh`, the output of the encoder.
        scale: of the latents of the codec.

    Raises:
        ValueError: NaN or inf, or values outside of [-1, 1].
    """
    if not torch.isfinite(frames).all():
        raise ValueError("it holds NaN or inf")
    if latents_are == "atanh":
        limit = math.atanh(fsq.ATANH_LIMIT)
        return frames.clamp(-limit, limit) / scale
    largest = float(frames.abs().max())
    if largest > 1:
        raise ValueError(
            f"it holds {largest:.4g}, values lie in [-1, 1]: it was made with another codec, or "
            "latents_are must be atanh"
        )
    return fsq.values_to_latents(frames, scale)


def latent_scale(tokenizer: AudioTokenizer) -> float:
    """Returns the scale of a codec's latents, atanh(value) / scale.

    Raises:
        ConfigError: its config has none, so that latents cannot be imported.
    """
    scale = getattr(tokenizer.settings, "latent_scale", None)
    if not isinstance(scale, (int, float)):
        raise ConfigError(
            f"latents cannot be imported for {type(tokenizer).__name__}: its config has no latent_scale; omit "
            "latents_are and encode the audio"
        )
    return float(scale)
