"""The cache of keys and values: attention piece by piece is attention over the whole, in constant memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from latentune.layers.attention import Causal, ChunkCausal, Pattern, SlidingWindow, attend
from latentune.layers.cache import KVCache, SlotCache


def heads(length: int) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = torch.randn(3, 2, 3, length, 16, generator=torch.Generator().manual_seed(length))
    return q, k, v


def streamed(
    q: Tensor, k: Tensor, v: Tensor, pattern: Pattern, piece: int, capacity: int, past: int | None = None
) -> tuple[Tensor, KVCache]:
    """Attention with a cache, `piece` positions at a time, of which `past` are kept before the next one."""
    cache, outputs = KVCache(2, 3, 16, capacity), []
    for start in range(0, q.shape[2], piece):
        part = slice(start, start + piece)
        cache.append(k[:, :, part], v[:, :, part])
        first_query = start - cache.first_position
        outputs.append(attend(q[:, :, part], cache.keys, cache.values, pattern, first_query=first_query))
        if past is not None:
            cache.drop_before(cache.end_position - past)
    return torch.cat(outputs, 2), cache


@pytest.mark.parametrize("chunk", [64, 100])
def test_chunks_equal_the_whole_bit_for_bit(chunk: int) -> None:
    """Chunks of 64 positions and more are blocks of their own in either form, without a mask."""
    q, k, v = heads(5 * chunk)
    out, _ = streamed(q, k, v, ChunkCausal(chunk), chunk, 5 * chunk)
    assert torch.equal(out, attend(q, k, v, ChunkCausal(chunk)))


@pytest.mark.parametrize("chunk", [64, 100])
def test_a_window_of_chunks_equals_the_whole_bit_for_bit(chunk: int) -> None:
    q, k, v = heads(9 * chunk)
    pattern = ChunkCausal(chunk, past_chunks=2)
    out, cache = streamed(q, k, v, pattern, chunk, 4 * chunk, past=2 * chunk)
    assert torch.equal(out, attend(q, k, v, pattern))
    assert cache.capacity == 4 * chunk


@pytest.mark.parametrize(
    ("pattern", "piece"), [(Causal(), 1), (Causal(), 7), (ChunkCausal(4), 4), (ChunkCausal(4), 8), (Causal(), 200)]
)
def test_any_pieces_equal_the_whole(pattern: Pattern, piece: int) -> None:
    """Within rounding: kernels add up the same numbers in another order where the shapes are others."""
    q, k, v = heads(200)
    out, _ = streamed(q, k, v, pattern, piece, 200)
    torch.testing.assert_close(out, attend(q, k, v, pattern), atol=1e-6, rtol=0)


def test_a_window_moves_on_in_constant_memory() -> None:
    q, k, v = heads(1000)
    out, cache = streamed(q, k, v, SlidingWindow(20, 0), 3, 30, past=20)
    torch.testing.assert_close(out, attend(q, k, v, SlidingWindow(20, 0)), atol=1e-6, rtol=0)
    assert (cache.capacity, len(cache), cache.first_position, cache.end_position) == (30, 20, 980, 1000)
    assert torch.equal(cache.keys, k[:, :, 980:])
    assert torch.equal(cache.values, v[:, :, 980:])


def test_appending_allocates_nothing() -> None:
    _, k, v = heads(4)
    cache = KVCache(2, 3, 16, 8)
    before = cache.keys.untyped_storage().data_ptr()
    for _ in range(20):
        cache.append(k, v)
        cache.drop_before(cache.end_position - 3)
    assert cache.keys.untyped_storage().data_ptr() == before


def test_reserve_keeps_what_is_there() -> None:
    _, k, v = heads(10)
    cache = KVCache(2, 3, 16, 6)
    cache.append(k[:, :, :5], v[:, :, :5])
    cache.drop_before(2)
    cache.reserve(5)
    cache.append(k[:, :, 5:], v[:, :, 5:])
    assert cache.capacity == 12
    assert cache.first_position == 2
    assert torch.equal(cache.keys, k[:, :, 2:])
    assert torch.equal(cache.values, v[:, :, 2:])


def test_reset_starts_over() -> None:
    _, k, v = heads(6)
    cache = KVCache(2, 3, 16, 6)
    cache.append(k, v)
    cache.drop_before(4)
    cache.reset()
    assert (len(cache), cache.first_position, cache.capacity) == (0, 0, 6)
    cache.append(k, v)
    assert torch.equal(cache.keys, k)


def test_a_stream_may_begin_in_inference_mode() -> None:
    _, k, v = heads(3)
    with torch.inference_mode():
        cache = KVCache(2, 3, 16, 9)
        cache.append(k, v)
    cache.append(k, v)
    cache.append(k.requires_grad_(), v)
    assert not cache.keys.requires_grad


def test_dropping_beyond_either_end_is_harmless() -> None:
    _, k, v = heads(5)
    cache = KVCache(2, 3, 16, 5)
    cache.append(k, v)
    cache.drop_before(-3)
    assert len(cache) == 5
    cache.drop_before(9)
    assert (len(cache), cache.first_position, cache.end_position) == (0, 5, 5)


def test_what_does_not_fit_is_refused() -> None:
    _, k, v = heads(5)
    cache = KVCache(2, 3, 16, 8)
    cache.append(k, v)
    with pytest.raises(ValueError, match="5 positions are kept and 5 more do not fit a capacity of 8"):
        cache.append(k, v)
    assert len(cache) == 5
    with pytest.raises(ValueError, match=r"takes keys and values \[2, 3, T, 16\]"):
        cache.append(k[:1], v[:1])
    with pytest.raises(ValueError, match=r"takes keys and values \[2, 3, T, 16\]"):
        cache.append(k, v[:, :, :4])
    with pytest.raises(ValueError, match="at least 1"):
        KVCache(2, 3, 16, 0)


def test_slots_are_written_by_number_and_parts_are_views() -> None:
    cache = SlotCache.allocate(2, (3, 1, 8, 4), torch.zeros(()))
    assert (cache.capacity, len(cache.keys), len(cache.values)) == (8, 2, 2)
    first = cache.part(2, 6)
    assert first.keys[0].shape == (2, 1, 6, 4)
    first.keys[1].index_copy_(2, torch.tensor([5]), torch.ones(2, 1, 1, 4))
    assert cache.keys[1][:2, :, 5].eq(1).all()
    assert sum(float(t.sum()) for t in (*cache.keys, *cache.values)) == 8
    with pytest.raises(ValueError, match="must be positive, got 0"):
        SlotCache.allocate(0, (3, 1, 8, 4), torch.zeros(()))
