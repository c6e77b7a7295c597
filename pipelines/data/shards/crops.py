"""Crops of whole chunks, padding with the codec's silence, and batches.

Shape letters: B batch, T latent frames, D latent width, T' token frames, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ....generators.batch import LatentBatch
from ....generators.conditions import SECONDS, Conditions
from ....tokenizers.spec import TokenizerSpec
from .dataset_files import Silence
from .read import LatentItem

# condition -> metadata column with its values, where the caller names none
COLUMNS: Mapping[str, str] = {"text": "text", "label": "label"}


def num_item_chunks(item: LatentItem, spec: TokenizerSpec) -> int:
    """Returns the number of whole chunks of the item, padding included.

    Raises:
        ValueError: the item has no stream, or one that does not consist of whole chunks.
    """
    frames, per_chunk = (
        (item.latents, spec.chunk_latents) if item.latents is not None else (item.tokens, spec.chunk_tokens)
    )
    if frames is None or len(frames) % per_chunk:
        raise ValueError(f"item {item.id} does not consist of whole chunks of {per_chunk} frames")
    return len(frames) // per_chunk


def crop(item: LatentItem, spec: TokenizerSpec, first_chunk: int, num_chunks: int) -> LatentItem:
    """Returns some chunks of an item, with start, length and masks to match.

    Args:
        item: of whole chunks.
        spec: of the codec.
        first_chunk: where the crop starts.
        num_chunks: length of the crop; it ends earlier if the item does.

    Raises:
        ValueError: the crop would be empty.
    """
    have = num_item_chunks(item, spec)
    if not 0 <= first_chunk < have or num_chunks < 1:
        raise ValueError(f"item {item.id} has {have} chunks: no crop of {num_chunks} from chunk {first_chunk} on")

    def part(stream: Tensor | None, per_chunk: int) -> Tensor | None:
        # cloned, so that a crop does not keep the whole item in memory
        return None if stream is None else stream[first_chunk * per_chunk :][: num_chunks * per_chunk].clone()

    before = first_chunk * spec.chunk_samples
    # the last chunk's window may reach beyond its hop, so an item can be longer than its chunks' hops
    last = first_chunk + num_chunks >= have
    num_samples = item.num_samples - before if last else min(num_chunks * spec.chunk_samples, item.num_samples - before)
    return replace(
        item,
        latents=part(item.latents, spec.chunk_latents),
        tokens=part(item.tokens, spec.chunk_tokens),
        latent_mask=part(item.latent_mask, spec.chunk_latents),
        token_mask=part(item.token_mask, spec.chunk_tokens),
        num_samples=num_samples,
        duration_s=num_samples / spec.sample_rate,
        seconds_start=item.seconds_start + before / spec.sample_rate,
    )


def pad(item: LatentItem, spec: TokenizerSpec, num_chunks: int, silence: Silence) -> LatentItem:
    """Returns the item with masked silence after it; an item that is long enough is returned as it is.

    Args:
        item: of whole chunks.
        spec: of the codec.
        num_chunks: least length of the result.
        silence: of the codec.

    Raises:
        ValueError: the silence lacks a stream of the item.
    """
    missing = num_chunks - num_item_chunks(item, spec)
    if missing <= 0:
        return item

    def longer(stream: Tensor | None, fill: Tensor | None, name: str) -> Tensor | None:
        if stream is None:
            return None
        if fill is None:
            raise ValueError(f"item {item.id} has {name}, but the silence to pad it with has none")
        return torch.cat([stream, fill.to(stream.dtype).repeat(missing, 1)])

    def masked(mask: Tensor | None, per_chunk: int) -> Tensor | None:
        return None if mask is None else torch.cat([mask, torch.zeros(missing * per_chunk, dtype=torch.bool)])

    return replace(
        item,
        latents=longer(item.latents, silence.latents, "latents"),
        tokens=longer(item.tokens, silence.tokens, "tokens"),
        latent_mask=masked(item.latent_mask, spec.chunk_latents),
        token_mask=masked(item.token_mask, spec.chunk_tokens),
    )


def collate(
    items: Sequence[LatentItem],
    spec: TokenizerSpec,
    silence: Silence,
    columns: Mapping[str, str] = COLUMNS,
) -> LatentBatch:
    """Returns a training batch of items; the shorter ones are padded with silence and masked.

    Args:
        items: at least one.
        spec: of their codec.
        silence: of their codec.
        columns: condition -> metadata column with its values; an item without a value does not give the condition. The
            condition `seconds` is always there.

    Raises:
        ValueError: no items.
    """
    if not items:
        raise ValueError("a batch needs at least 1 item")
    longest = max(num_item_chunks(item, spec) for item in items)
    padded = [pad(item, spec, longest, silence) for item in items]

    def stack(tensors: Iterable[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        if present and len(present) != len(padded):
            raise ValueError("items of one batch must all have the same streams")
        return torch.stack(present) if present else None

    return LatentBatch(
        latents=stack(item.latents for item in padded),
        latent_mask=stack(item.latent_mask for item in padded),
        tokens=stack(item.tokens for item in padded),
        token_mask=stack(item.token_mask for item in padded),
        conditions=Conditions(
            values={
                **{name: [item.metadata.get(column) for item in padded] for name, column in columns.items()},
                SECONDS: [(item.seconds_start, item.seconds_total) for item in padded],
            }
        ),
        ids=[item.id for item in padded],
    )
