"""Encode one shard: the unit of work and of commit, the same whoever does it and however often."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from ....core.errors import MismatchError
from ....tokenizers.base import AudioTokenizer, TokenizerSpec
from .load import LoadedItem, load_batches, make_batches, stack_audio
from .plan import Failure, PlannedItem
from .settings import ShardSettings
from .shard import CODEC_GAIN, EncodedItem, ShardFile, shard_name, write_shard


def encode_shard(
    number: int,
    items: Sequence[PlannedItem],
    folder: Path,
    root: Path,
    tokenizer: AudioTokenizer,
    settings: ShardSettings,
    *,
    identity: dict[str, str],
    batch_s: float,
    num_threads: int = 1,
    progress: Callable[[int, float, int], None] | None = None,
) -> ShardFile:
    """Encode the planned items of one shard and commit it. Idempotent: a shard that is there already is only opened.

    Args:
        folder: where `shards/` is.
        root: what the items' paths are relative to.
        identity: the codec's `fingerprint` and the `job` of this plan and these settings.
        batch_s: seconds of audio that are encoded at once, padding included.
        progress: called after each batch with its (items, seconds of audio, failures).

    Raises:
        DatasetError: the shard is there, but corrupt.
        MismatchError: the shard is there, but of another job.
        OSError: it cannot be written.
    """
    path = folder / "shards" / shard_name(number)
    if path.exists():
        return open_committed(path, identity)
    spec = tokenizer.spec
    encoded: dict[str, EncodedItem] = {}
    failed: dict[str, Failure] = {}
    for batch in load_batches(make_batches(items, spec, batch_s), root, tokenizer, settings, num_threads):
        loaded = [entry for entry in batch if isinstance(entry, LoadedItem)]
        results: list[EncodedItem | Failure] = [entry for entry in batch if isinstance(entry, Failure)]
        if loaded:
            results += _encode_batch(loaded, tokenizer, spec, settings)
        encoded |= {entry.item.id: entry for entry in results if isinstance(entry, EncodedItem)}
        failed |= {entry.id: entry for entry in results if isinstance(entry, Failure)}
        if progress is not None:
            seconds = sum(entry.num_samples for entry in results if isinstance(entry, EncodedItem)) / spec.sample_rate
            progress(len(batch), seconds, sum(isinstance(entry, Failure) for entry in results))
    write_shard(
        path,
        number,
        [encoded[item.id] for item in items if item.id in encoded],
        [failed[item.id] for item in items if item.id in failed],
        spec=spec,
        settings=settings,
        identity=identity,
    )
    return ShardFile(path)


def open_committed(path: Path, identity: dict[str, str]) -> ShardFile:
    """A shard that an earlier run committed; raises MismatchError if that was for another job."""
    shard = ShardFile(path)
    if any(shard.header.get(key) != value for key, value in identity.items()):
        raise MismatchError(f"shard {path} was made with another plan or tokenizer: encode into another folder")
    return shard


def _encode_batch(
    loaded: Sequence[LoadedItem], tokenizer: AudioTokenizer, spec: TokenizerSpec, settings: ShardSettings
) -> list[EncodedItem | Failure]:
    audio, lengths = stack_audio(loaded)
    with torch.inference_mode(), _autocast(tokenizer.device, settings):
        result = tokenizer.encode(
            audio.to(tokenizer.device), tokenizer.encoder_rate, lengths=lengths, **settings.encode_options
        )
    latents, tokens = result.latents.to(settings.latent_dtype).cpu(), result.tokens.cpu()
    gains_db = [None] * len(loaded) if result.gain_db is None else result.gain_db.tolist()
    entries: list[EncodedItem | Failure] = []
    for row, (entry, length) in enumerate(zip(loaded, result.lengths_samples.tolist(), strict=True)):
        mine = latents[row, : spec.num_latents(length)]
        if not torch.isfinite(mine).all():
            reason = f"the codec gave latents with NaN or inf (stored as {settings.dtype})"
            entries.append(Failure(id=entry.item.id, path=entry.item.path, reason=reason))
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
    return entries


def _autocast(device: torch.device, settings: ShardSettings) -> AbstractContextManager[object]:
    if settings.compute_dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, settings.compute_dtype))


def write_silence(path: Path, tokenizer: AudioTokenizer, settings: ShardSettings) -> None:
    """Write one chunk of the codec's silence, from the middle of a longer one, atomically."""
    from safetensors.torch import save

    from ....core.files import atomic_path

    spec = tokenizer.spec
    num_samples = max(8 * spec.chunk_samples, spec.sample_rate)
    audio = torch.zeros(1, spec.channels, num_samples, device=tokenizer.device)
    with torch.inference_mode(), _autocast(tokenizer.device, settings):
        result = tokenizer.encode(audio, spec.sample_rate, **settings.encode_options)
    middle = spec.num_chunks(num_samples) // 2
    latents = result.latents[0].unflatten(0, (-1, spec.chunk_latents))[middle]
    tokens = result.tokens[0].unflatten(0, (-1, spec.chunk_tokens))[middle]
    streams = {"latents": latents.to(settings.latent_dtype).cpu(), "tokens": tokens.cpu()}
    with atomic_path(path) as part:
        part.write_bytes(save({name: streams[name].contiguous() for name in settings.streams}))
