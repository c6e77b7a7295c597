"""Long signals as overlapping chunks that are processed independently, and the part of each that is kept.

Chunks begin one hop (chunk - overlap) after one another, and the last one ends with the signal. At each inner edge half
of the overlap is trimmed, so that the kept parts abut. Frames may be latents, patches or samples; all sizes count
frames of the same kind, and `Chunk.scaled` converts a plan from one kind to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Frames start..stop-1 are processed and keep_start..keep_stop-1 are kept, counted from the signal's start."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int

    @property
    def kept(self) -> slice:
        """The kept frames, counted from the chunk's own start."""
        return slice(self.keep_start - self.start, self.keep_stop - self.start)

    def scaled(self, factor: int) -> Chunk:
        """Returns the same chunk in frames that are `factor` times shorter."""
        return Chunk(
            start=self.start * factor,
            stop=self.stop * factor,
            keep_start=self.keep_start * factor,
            keep_stop=self.keep_stop * factor,
        )


def plan_chunks(num_frames: int, chunk_frames: int, overlap_frames: int) -> list[Chunk]:
    """Plans the chunks of a signal; a signal no longer than a chunk is one chunk.

    Every frame is kept exactly once. The last chunk overlaps the one before by at least `overlap_frames`.

    Args:
        num_frames: of the signal.
        chunk_frames: of a chunk.
        overlap_frames: that neighbouring chunks share.

    Returns:
        The chunks in the order of time.

    Raises:
        ValueError: no frames, or an overlap that is negative, odd or not shorter than the chunk.
    """
    if num_frames < 1:
        raise ValueError(f"a signal of {num_frames} frames: at least 1 is needed")
    if not 0 <= overlap_frames < chunk_frames or overlap_frames % 2:
        raise ValueError(
            f"overlap_frames must be even, at least 0 and below chunk_frames {chunk_frames}, got {overlap_frames}"
        )
    if num_frames <= chunk_frames:
        return [Chunk(start=0, stop=num_frames, keep_start=0, keep_stop=num_frames)]
    starts = [*range(0, num_frames - chunk_frames, chunk_frames - overlap_frames), num_frames - chunk_frames]
    edges = [0, *(start + overlap_frames // 2 for start in starts[1:]), num_frames]
    return [
        Chunk(start=start, stop=start + chunk_frames, keep_start=first, keep_stop=end)
        for start, first, end in zip(starts, edges, edges[1:], strict=False)
    ]


def join(pieces: Tensor, chunks: Sequence[Chunk]) -> Tensor:
    """Returns the kept parts of the pieces [chunks, chunk_frames, ...], end to end: [T, ...]."""
    return torch.cat([piece[chunk.kept] for piece, chunk in zip(pieces, chunks, strict=True)])


class ChunkStream:
    """The chunks of `plan_chunks` for a signal that arrives in pieces and whose length is known only at its end.

    A chunk is returned when it is certain that the next one does not have to move back to end with the signal: one hop
    after its own frames have arrived.
    """

    def __init__(self, chunk_frames: int, overlap_frames: int):
        plan_chunks(1, chunk_frames, overlap_frames)  # checks the sizes
        self.chunk_frames, self.overlap_frames = chunk_frames, overlap_frames
        self.held: Tensor | None = None  # from the start of the next chunk on
        self.given = 0  # chunks so far

    def push(self, frames: Tensor) -> list[tuple[Tensor, slice]]:
        """Takes frames [B, n, ...]; returns the certain chunks [B, chunk_frames, ...], each with its kept part."""
        self.held = frames if self.held is None else torch.cat((self.held, frames), dim=1)
        hop, ready = self.chunk_frames - self.overlap_frames, []
        while self.held.shape[1] >= hop + self.chunk_frames:
            kept = slice(self._keep_start(), hop + self.overlap_frames // 2)
            ready.append((self.held[:, : self.chunk_frames], kept))
            self.held = self.held[:, hop:]
            self.given += 1
        return ready

    def flush(self) -> list[tuple[Tensor, slice]]:
        """Returns the chunks that are left; the next push begins a new stream."""
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
