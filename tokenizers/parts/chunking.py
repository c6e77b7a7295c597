"""Long signals as overlapping chunks that are worked on independently, and the part of each that is kept.

Chunks begin one hop (chunk - overlap) after one another, the last one ends with the signal. At each inner edge half of
the overlap is trimmed, so that the kept parts abut. Frames may be latents, patches or samples; all sizes count frames
of the same kind, and `Chunk.scaled` turns a plan from one kind into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Frames start..stop-1 are worked on, and keep_start..keep_stop-1 kept, counted from the signal's start."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def kept(self) -> slice:
        """The kept frames, counted from the chunk's own start."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)

    def scaled(self, factor: int) -> Chunk:
        """The same chunk in frames of which `factor` make one of ours."""
        return Chunk(
            start=self.start * factor,
            stop=self.stop * factor,
            keep_start=self.keep_start * factor,
            keep_stop=self.keep_stop * factor,
        )


def plan_chunks(num_frames: int, chunk_frames: int, overlap_frames: int) -> list[Chunk]:
    """The chunks of a signal of `num_frames` frames; a signal no longer than a chunk is one chunk.

    Every frame is kept exactly once. The last chunk overlaps the one before by at least `overlap_frames`.

    Raises:
        ValueError: no frames, or an overlap that is negative, odd or not shorter than the chunk.
    """
    if num_frames < 1:
        raise ValueError(f"a signal of {num_frames} frames: at least 1 is needed")
    if not 0 <= overlap_frames < chunk_frames or overlap_frames % 2:
        raise ValueError(
            f"overlap_frames must be even, at least 0 and less than chunk_frames {chunk_frames}, got {overlap_frames}"
        )
    if num_frames <= chunk_frames:
        return [Chunk(start=0, stop=num_frames, keep_start=0, keep_stop=num_frames)]
    starts = [*range(0, num_frames - chunk_frames, chunk_frames - overlap_frames), num_frames - chunk_frames]
    edges = [0, *(start + overlap_frames // 2 for start in starts[1:]), num_frames]
    return [
        Chunk(start=start, stop=start + chunk_frames, keep_start=first, keep_stop=end)
        for start, first, end in zip(starts, edges, edges[1:], strict=False)
    ]


def cut(signal: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """The chunks of a signal [T, ...] as a batch [chunks, chunk_frames, ...]."""
    return torch.stack([signal[chunk.start : chunk.stop] for chunk in chunks])


def join(pieces: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Returns the kept frames of each piece [chunks, chunk_frames, ...], end to end: [T, ...]."""
    return torch.cat([piece[chunk.kept] for piece, chunk in zip(pieces, chunks, strict=True)])


class ChunkStream:
    """The chunks of `plan_chunks` for a signal that comes bit by bit and whose length is known at its end alone.

    A chunk is given when it is certain that the next one does not have to move back to end with the signal: one hop
    later than its own frames have come.
    """

    def __init__(self, chunk_frames: int, overlap_frames: int):
        plan_chunks(1, chunk_frames, overlap_frames)  # refuses what cannot be
        self.chunk_frames, self.overlap_frames = chunk_frames, overlap_frames
        self.held: Tensor | None = None  # from the start of the next chunk on
        self.given = 0  # chunks so far

    def push(self, frames: Tensor) -> list[tuple[Tensor, slice]]:
        """Frames [B, n, ...] to the chunks [B, chunk_frames, ...] that became certain, each with what is kept of it."""
        self.held = frames if self.held is None else torch.cat((self.held, frames), dim=1)
        hop, ready = self.chunk_frames - self.overlap_frames, []
        while self.held.shape[1] >= hop + self.chunk_frames:
            kept = slice(self._keep_start(), hop + self.overlap_frames // 2)
            ready.append((self.held[:, : self.chunk_frames], kept))
            self.held = self.held[:, hop:]
            self.given += 1
        return ready

    def flush(self) -> list[tuple[Tensor, slice]]:
        """Returns the remaining chunks and resets the stream."""
        held, first_kept = self.held, self._keep_start()
        self.held, self.given = None, 0
        if held is None:
            return []
        chunks = plan_chunks(held.shape[1], self.chunk_frames, self.overlap_frames)
        kept = [chunk.kept for chunk in chunks]
        kept[0] = slice(first_kept, kept[0].stop)
        return [(held[:, chunk.start : chunk.stop], own) for chunk, own in zip(chunks, kept, strict=True)]

    def _keep_start(self) -> int:
        return self.overlap_frames // 2 if self.given else 0
