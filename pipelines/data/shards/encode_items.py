"""From loaded audio to encoded items: what the codec computes, in the number format of the dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ....core.files import atomic_path
from ....tokenizers.base import AudioTokenizer
from .load import LoadedItem, stack_audio
from .plan import Failure
from .settings import ShardSettings
from .shard import CODEC_GAIN, EncodedItem


def encode_batch(
    batch: Sequence[LoadedItem | EncodedItem | Failure], tokenizer: AudioTokenizer, settings: ShardSettings
) -> tuple[list[EncodedItem], list[Failure]]:
    """Encodes the loaded items of a batch together.

    Args:
        batch: loaded items, those of which the source holds latents, and failures to load some.
        tokenizer: the codec.
        settings: of the dataset.

    Returns:
        The encoded items, and all failures.
    """
    loaded = [entry for entry in batch if isinstance(entry, LoadedItem)]
    failures = [entry for entry in batch if isinstance(entry, Failure)]
    entries = [entry for entry in batch if isinstance(entry, EncodedItem)]
    if not loaded:
        return entries, failures
    audio, lengths = stack_audio(loaded)
    with torch.inference_mode():
        result = tokenizer.encode(
            audio.to(tokenizer.device), tokenizer.encoder_rate, lengths=lengths, **settings.encode_options
        )
    spec, latents, tokens = tokenizer.spec, result.latents.to(settings.latent_dtype).cpu(), result.tokens.cpu()
    gains_db = [None] * len(loaded) if result.gain_db is None else result.gain_db.tolist()
    for row, (entry, length) in enumerate(zip(loaded, result.lengths_samples.tolist(), strict=True)):
        mine = latents[row, : spec.num_latents(length)]
        if not torch.isfinite(mine).all():
            reason = f"the codec gave latents with NaN or inf (stored as {settings.dtype})"
            failures.append(Failure(id=entry.item.id, path=entry.item.path, reason=reason))
            continue
        entries.append(
            EncodedItem(
                item=entry.item,
                latents=mine.clone() if "latents" in settings.streams else None,
                tokens=tokens[row, : spec.num_tokens(length)].clone() if "tokens" in settings.streams else None,
                num_samples=length,
                facts={**entry.facts, CODEC_GAIN: gains_db[row]} if gains_db[row] is not None else entry.facts,
            )
        )
    return entries, failures


def write_silence(path: Path, tokenizer: AudioTokenizer, settings: ShardSettings) -> None:
    """Writes one chunk of the codec's silence, atomically.

    Args:
        path: of the file.
        tokenizer: the codec.
        settings: of the dataset.
    """
    from safetensors.torch import save

    streams = silence_of(tokenizer, settings)
    with atomic_path(path) as part:
        part.write_bytes(save({name: streams[name].contiguous() for name in settings.streams}))


def silence_of(tokenizer: AudioTokenizer, settings: ShardSettings) -> dict[str, Tensor]:
    """Returns latents [chunk_latents, D] and tokens [chunk_tokens, Q] of the codec's silence, from the middle of it.

    Args:
        tokenizer: the codec.
        settings: of the dataset.
    """
    spec = tokenizer.spec
    num_samples = max(8 * spec.chunk_samples, spec.sample_rate)
    audio = torch.zeros(1, spec.channels, num_samples, device=tokenizer.device)
    with torch.inference_mode():
        result = tokenizer.encode(audio, spec.sample_rate, **settings.encode_options)
    middle = spec.num_chunks(num_samples) // 2
    latents = result.latents[0, middle * spec.chunk_latents :][: spec.chunk_latents]
    tokens = result.tokens[0, middle * spec.chunk_tokens :][: spec.chunk_tokens]
    return {"latents": latents.to(settings.latent_dtype).cpu(), "tokens": tokens.cpu()}
