"""The encoder or the decoder over batches of any length, in bounded memory.

Counts and bounds are in latent frames; a `Side` defines how many frames of its input and output are one of them. Input
is made as it is needed, so that there is never a copy of a whole signal. Shape letters: B batch, T latent frames, W and
W' width of input and output frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..parts.chunking import join, plan_chunks
from .network import Decoder, Encoder

MAX_FRAMES = 2048  # default bound of frames at once: 82 s at 25 Hz, half a GB in addition to the released weights
OVERLAP_FRAMES = 32  # of the official chunked mode, whose chunks have 128

Read = Callable[[slice, int, int], Tensor]
"""Latent frames start..stop-1 of some items of a batch as input [items, (stop - start) * per_in, W]."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """The bounds for long signals: frames at once, and perhaps independent chunks."""

    max_frames: int | None = MAX_FRAMES  # at once, of all items together; does not change the result
    chunk_frames: int | None = None  # cut items into independent chunks of this length
    overlap_frames: int = OVERLAP_FRAMES  # of neighbouring chunks

    def __post_init__(self) -> None:
        for name in ("max_frames", "chunk_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, or None for no bound, got {value}")
        if self.chunk_frames is not None:
            plan_chunks(1, self.chunk_frames, self.overlap_frames)  # checks the overlap


@dataclass(frozen=True, kw_only=True)
class Side:
    """One half of the codec."""

    network: Encoder | Decoder
    per_in: int  # input frames (patches or latents) of one latent frame
    per_out: int  # output frames of one latent frame

    def run(self, read: Read, counts: Sequence[int], bounds: Bounds) -> Tensor:
        """Runs the network over a batch of unequal items.

        Args:
            read: the input of B items.
            counts: latent frames of each item.
            bounds: of memory, and the chunks.

        Returns:
            [B, T * per_out, W'] float32, zero beyond each item's own frames.
        """
        results: dict[int, Tensor] = {}
        limit = bounds.max_frames or sum(counts) + max(counts) * len(counts)
        if bounds.chunk_frames is not None:
            limit = 0  # every item alone: its chunks are a batch
        for group in _groups(counts, limit):
            items = slice(group[0], group[-1] + 1)
            if len(group) == 1:
                alone = self.pieces(partial(read, items), counts[group[0]], bounds)
                results[group[0]] = torch.cat(list(alone), dim=1)[0]
                continue
            own = [counts[item] for item in group]
            out = self._call(read(items, 0, max(own)), own)
            results.update(
                (item, row[: count * self.per_out]) for row, item, count in zip(out, group, own, strict=True)
            )
        return torch.nn.utils.rnn.pad_sequence([results[item] for item in range(len(counts))], batch_first=True)

    def pieces(self, read: Callable[[int, int], Tensor], count: int, bounds: Bounds) -> Iterator[Tensor]:
        """Runs the network over items of one length, in as many pieces as the bounds demand.

        Args:
            read: the input [B, (stop - start) * per_in, W] of latent frames start..stop-1.
            count: latent frames of the items.
            bounds: of memory, and the chunks.

        Yields:
            [B, n, W'] float32, any n; joined, [B, count * per_out, W'].
        """
        if bounds.chunk_frames is not None:
            yield from self._chunked(read, count, bounds)
        elif bounds.max_frames is not None and count > bounds.max_frames:
            yield from self._streamed(read, count, bounds.max_frames)
        else:
            yield self._call(read(0, count), [count])

    def _chunked(self, read: Callable[[int, int], Tensor], count: int, bounds: Bounds) -> Iterator[Tensor]:
        """Cuts an item of `count` latent frames into chunks, of which as many run together as the bound allows."""
        assert bounds.chunk_frames is not None
        chunks = plan_chunks(count, bounds.chunk_frames, bounds.overlap_frames)
        size = chunks[0].stop - chunks[0].start
        together = max(1, (bounds.max_frames or size * len(chunks)) // size)
        for first in range(0, len(chunks), together):
            part = chunks[first : first + together]
            windows = torch.cat([read(chunk.start, chunk.stop) for chunk in part])
            made = self._call(windows, [size] * len(part))
            yield join(made, [chunk.scaled(self.per_out) for chunk in part])[None]

    def _call(self, frames: Tensor, counts: Sequence[int]) -> Tensor:
        """Runs one pass of the network; counts are passed only where they differ."""
        valid = None if min(counts) == max(counts) else torch.tensor(counts, device=frames.device) * self.per_in
        out: Tensor = self.network(frames.to(_dtype(self.network)), valid).float()
        return out

    def _streamed(self, read: Callable[[int, int], Tensor], count: int, max_frames: int) -> Iterator[Tensor]:
        """Yields the result of one pass, in blocks: every layer keeps the context that its window and kernel need."""
        state = None
        for start in range(0, count, max_frames):
            block = read(start, min(start + max_frames, count))
            state = state or self.network.stream(len(block))
            if (part := state.push(block.to(_dtype(self.network)))) is not None:
                yield part.float()
        assert state is not None
        if (part := state.flush()) is not None:
            yield part.float()


def _groups(counts: Sequence[int], max_frames: int) -> list[list[int]]:
    """Groups neighbouring items whose padded lengths together stay within `max_frames`; a longer item is alone."""
    groups: list[list[int]] = []
    for item, count in enumerate(counts):
        if groups and (len(groups[-1]) + 1) * max(count, *(counts[i] for i in groups[-1])) <= max_frames:
            groups[-1].append(item)
        else:
            groups.append([item])
    return groups


def _dtype(network: Encoder | Decoder) -> torch.dtype:
    return next(network.parameters()).dtype
