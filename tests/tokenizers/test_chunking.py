"""Chunk plans: every frame kept once, with its share of context."""

from __future__ import annotations

import pytest
import torch

from latentune.tokenizers.parts.chunking import Chunk, join, plan_chunks


@pytest.mark.parametrize("num_frames", [1, 7, 8, 9, 13, 14, 15, 20, 61])
@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, 2), (8, 6), (1, 0)])
def test_every_frame_is_kept_once_and_has_its_context(num_frames: int, size: int, overlap: int) -> None:
    chunks = plan_chunks(num_frames, size, overlap)
    kept = [frame for chunk in chunks for frame in range(chunk.keep_start, chunk.keep_stop)]
    assert kept == list(range(num_frames))
    for chunk in chunks:
        assert 0 <= chunk.start <= chunk.keep_start < chunk.keep_stop <= chunk.stop <= num_frames
        assert chunk.stop - chunk.start == min(size, num_frames)
        assert chunk.start == 0 or chunk.keep_start - chunk.start >= overlap // 2
        assert chunk.stop == num_frames or chunk.stop - chunk.keep_stop >= overlap // 2


def test_the_plan_of_the_official_chunked_mode() -> None:
    """128 with an overlap of 32: starts one hop of 96 apart, the last flush with the end, 16 trimmed at inner edges."""
    assert plan_chunks(300, 128, 32) == [
        Chunk(start=0, stop=128, keep_start=0, keep_stop=112),
        Chunk(start=96, stop=224, keep_start=112, keep_stop=188),
        Chunk(start=172, stop=300, keep_start=188, keep_stop=300),
    ]


@pytest.mark.parametrize("num_frames", [3, 8, 30])
def test_joined_chunks_are_the_signal_at_any_rate(num_frames: int) -> None:
    signal = torch.arange(3 * num_frames * 2).reshape(-1, 2)
    chunks = [chunk.scaled(3) for chunk in plan_chunks(num_frames, 8, 4)]
    pieces = torch.stack([signal[chunk.start : chunk.stop] for chunk in chunks])
    assert torch.equal(join(pieces, chunks), signal)


@pytest.mark.parametrize(("size", "overlap"), [(8, 8), (8, -2), (8, 3), (0, 0)])
def test_an_overlap_that_cannot_be_is_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap_frames must be even"):
        plan_chunks(20, size, overlap)
    with pytest.raises(ValueError, match="at least 1 is needed"):
        plan_chunks(0, 8, 2)
