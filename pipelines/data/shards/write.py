"""Encodes shards, the units of work and of commit. Their bytes do not depend on who encodes them, or how often."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ....core.errors import MismatchError
from ....core.files import atomic_path
from ....tokenizers.base import AudioTokenizer
from ..audio.concerns import Concerns
from .load import LoadedItem, load_batches, make_batches, stack_audio
from .plan import Failure, PlannedItem, shard_content
from .progress import ProgressReport
from .reuse import reusable_items
from .settings import ShardSettings
from .shard import CODEC_GAIN, EncodedItem, ShardFile, shard_name, write_shard


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """The objects with which all shards of a dataset are encoded."""

    folder: Path  # of the dataset
    root: Path  # folder that the paths of the items are relative to
    tokenizer: AudioTokenizer
    settings: ShardSettings
    identity: dict[str, str]  # the codec's `fingerprint`, and the `job` of settings and codec
    grown: bool  # whether a shard may hold items of an earlier plan
    batch_s: float  # seconds of audio that are encoded at once, padding included
    num_threads: int  # that read audio in the background
    concerns: Concerns = field(default_factory=Concerns)  # about the audio that was read

    def path(self, number: int) -> Path:
        """Returns the file of shard `number`."""
        return self.folder / "shards" / shard_name(number)

    def content(self, items: Sequence[PlannedItem]) -> str:
        """Returns the hash of everything that determines a shard of these items."""
        return shard_content(items, self.identity["job"])

    def find_shard(self, number: int) -> ShardFile | None:
        """Returns a shard that is already there, perhaps with the items of an earlier plan.

        Raises:
            DatasetError: it is corrupt.
            MismatchError: it is of another job.
        """
        if not self.path(number).exists():
            return None
        shard = ShardFile(self.path(number))
        if any(shard.header.get(key) != value for key, value in self.identity.items()):
            raise self._mismatch(shard)
        return shard

    def find_finished(self, number: int, items: Sequence[PlannedItem]) -> ShardFile | None:
        """Returns a shard that is there and holds these items.

        Args:
            number: of the shard.
            items: that are planned for it.

        Returns:
            The shard, or None if it must still be encoded.

        Raises:
            DatasetError: it is corrupt.
            MismatchError: it is of another job or plan.
        """
        shard = self.find_shard(number)
        if shard is None or shard.header.get("content") == self.content(items):
            return shard
        if not self.grown:
            raise self._mismatch(shard)
        return None

    def _mismatch(self, shard: ShardFile) -> MismatchError:
        return MismatchError(f"shard {shard.path} was made with another plan or tokenizer: encode to another folder")


def encode_missing(job: ShardJob, shards: Iterable[tuple[int, list[PlannedItem]]], report: ProgressReport) -> int:
    """Encodes those of the planned shards that are not there yet.

    Args:
        job: what to encode them with.
        shards: number and items of each.
        report: counts the items, also those of shards that are there.

    Returns:
        Number of shards that were encoded.

    Raises:
        DatasetError: a shard is there, but corrupt.
        MismatchError: a shard is there, but of another job.
        OSError: a shard cannot be written.
    """
    num_encoded = 0
    for number, items in shards:
        finished = job.find_finished(number, items)
        if finished is not None:
            report.advance(len(items), failed=len(finished.failures))
        else:
            encode_shard(job, number, items, report)
            num_encoded += 1
    return num_encoded


def encode_shard(job: ShardJob, number: int, items: Sequence[PlannedItem], report: ProgressReport) -> None:
    """Encodes the planned items of one shard and commits it; items that it holds already are kept.

    Args:
        job: what to encode with.
        number: of the shard.
        items: of the shard.
        report: counts the items.
    """
    spec = job.tokenizer.spec
    earlier = job.find_shard(number)
    encoded = {} if earlier is None else reusable_items(earlier, items)
    failed: dict[str, Failure] = {}
    report.advance(len(encoded))
    batches = make_batches([item for item in items if item.id not in encoded], spec, job.batch_s)
    with closing(
        load_batches(batches, job.root, job.tokenizer, job.settings, job.num_threads, job.concerns)
    ) as loaded_batches:
        for batch in loaded_batches:
            done, lost = encode_batch(batch, job.tokenizer, job.settings)
            encoded |= {entry.item.id: entry for entry in done}
            failed |= {entry.id: entry for entry in lost}
            seconds = sum(entry.num_samples for entry in done) / spec.sample_rate
            report.advance(len(batch), seconds, len(lost))
    write_shard(
        job.path(number),
        number,
        [encoded[item.id] for item in items if item.id in encoded],
        [failed[item.id] for item in items if item.id in failed],
        spec=spec,
        settings=job.settings,
        identity={**job.identity, "content": job.content(items)},
    )


def encode_batch(
    batch: Sequence[LoadedItem | Failure], tokenizer: AudioTokenizer, settings: ShardSettings
) -> tuple[list[EncodedItem], list[Failure]]:
    """Encodes the loaded items of a batch together.

    Args:
        batch: loaded items, and failures to load some.
        tokenizer: the codec.
        settings: of the dataset.

    Returns:
        The encoded items, and all failures.
    """
    loaded = [entry for entry in batch if isinstance(entry, LoadedItem)]
    failures = [entry for entry in batch if isinstance(entry, Failure)]
    entries: list[EncodedItem] = []
    if not loaded:
        return entries, failures
    audio, lengths = stack_audio(loaded)
    with torch.inference_mode(), _autocast(tokenizer.device, settings):
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


def _autocast(device: torch.device, settings: ShardSettings) -> AbstractContextManager[object]:
    if settings.compute_dtype == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, settings.compute_dtype))


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
    with torch.inference_mode(), _autocast(tokenizer.device, settings):
        result = tokenizer.encode(audio, spec.sample_rate, **settings.encode_options)
    middle = spec.num_chunks(num_samples) // 2
    latents = result.latents[0, middle * spec.chunk_latents :][: spec.chunk_latents]
    tokens = result.tokens[0, middle * spec.chunk_tokens :][: spec.chunk_tokens]
    return {"latents": latents.to(settings.latent_dtype).cpu(), "tokens": tokens.cpu()}
