"""The checked form of a call to `LatentGenerator.sample`: lengths in whole chunks, and which of them are given.

Shape letters: B batch, T frames of a stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...tokenizers.base import Encoded, TokenizerSpec
from ..conditions import Conditions
from ..given import Given


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """A request for B items: their conditions, the length of each, and what of it is given."""

    conditions: Conditions
    lengths_samples: Tensor  # [B] int64 on the CPU, at the codec's rate
    num_chunks: tuple[int, ...]  # whole chunks of each item
    keep: Tensor  # [B, most chunks] bool on the CPU, True where a chunk is given
    encoded: Encoded | None = None  # the given audio, of 1 or B items; None where nothing is given
    noise_level: float = 0.0  # of the given chunks; see `Given`

    def __len__(self) -> int:
        return len(self.num_chunks)


def check_request(
    spec: TokenizerSpec, conditions: Conditions, lengths_samples: Tensor, given: Given | None
) -> SampleRequest:
    """Validates the arguments that every kind of generator takes.

    Args:
        spec: of the codec that the generator was made for.
        conditions: of B items.
        lengths_samples: [B] samples of each item at the codec's rate.
        given: what of the items is given.

    Returns:
        The conditions, lengths and chunks of every item, and which of the chunks are kept.

    Raises:
        ValueError: no items, counts or lengths that do not fit, a length below 1, or given chunks that lie outside an
            item or leave nothing of it to sample.
        TypeError: lengths that are not integers.
    """
    if lengths_samples.is_floating_point() or lengths_samples.ndim != 1:
        raise TypeError(
            f"lengths_samples must be [B] integers, got {lengths_samples.dtype} of shape {tuple(lengths_samples.shape)}"
        )
    if not 0 < len(conditions) == len(lengths_samples):
        raise ValueError(f"{len(conditions)} conditions, but {len(lengths_samples)} lengths: give one for each item")
    lengths = lengths_samples.detach().to("cpu", torch.int64)
    num_chunks = tuple(spec.num_chunks(int(n)) for n in lengths)
    keep = torch.zeros(len(num_chunks), max(num_chunks), dtype=torch.bool)
    if given is not None:
        _fill_keep(keep, given, num_chunks)
    return SampleRequest(
        conditions=conditions,
        lengths_samples=lengths,
        num_chunks=num_chunks,
        keep=keep,
        encoded=None if given is None else given.encoded,
        noise_level=0.0 if given is None else given.noise_level,
    )


def lay_given(stream: Tensor, keep: Tensor, frames_per_chunk: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Lays the frames of given chunks into the items.

    Args:
        stream: [1 or B, n, ...] frames of the given audio; how many there are may differ from the items' T.
        keep: [B, chunks] bool, the chunks of the items that are given.
        frames_per_chunk: of the stream.
        like: [B, T, ...], whose shape, dtype and device the result has.

    Returns:
        The frames [B, T, ...], zero where they are not given, and the mask [B, T] bool of those that are.

    Raises:
        ValueError: the stream is shorter than the chunks that are kept of it.
    """
    where = keep.repeat_interleave(frames_per_chunk, 1)
    needed = int(where.any(0).nonzero().max()) + 1 if where.any() else 0
    if stream.shape[1] < needed:
        raise ValueError(f"the given audio has {stream.shape[1]} frames, but frames up to {needed} are kept of it")
    known = torch.zeros_like(like)
    where = where.to(like.device)
    count = min(stream.shape[1], known.shape[1])
    shown = where[(..., *[None] * (like.ndim - 2))]
    known[:, :count] = torch.where(shown[:, :count], stream[:, :count].to(known), known[:, :count])
    return known, where


def _fill_keep(keep: Tensor, given: Given, num_chunks: tuple[int, ...]) -> None:
    """Writes the given chunks into `keep`, all False before."""
    for name, size in (("audio", len(given.encoded.lengths_samples)), ("keep", len(given.keep))):
        if size not in (1, len(num_chunks)):
            raise ValueError(f"given {name} of {size} items for {len(num_chunks)} to sample: give 1 or one for each")
    rows = given.keep.cpu().expand(len(num_chunks), -1)
    for row, (kept, wanted) in enumerate(zip(rows, num_chunks, strict=True)):
        if not given.noise_level and kept.shape[0] >= wanted and kept[:wanted].all():
            raise ValueError(
                f"given audio of {int(kept.sum())} chunks leaves nothing of {wanted} to sample: ask for a longer "
                "duration, keep less, or vary it with a noise_level above 0"
            )
        if kept[wanted:].any():
            raise ValueError(f"chunk {int(kept.nonzero().max()) + 1} is given of an item of {wanted} chunks")
        keep[row, : min(wanted, len(kept))] = kept[:wanted]
