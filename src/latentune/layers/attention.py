"""Sliding-window attention: query t sees keys t - before ... t + after and no others, on every backend.

Shape letters: B batch, H heads, T queries, S keys, E features of a head. Time and memory grow linearly with T.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BACKENDS = ("auto", "sdpa", "flex", "flash")
BLOCK_QUERIES = 64  # of the block-local form; of 32 ... 256 the fastest on CPU at window 63 + 64 and E = 128
FLEX_BLOCK = 128  # FlexAttention's own default

Window = tuple[int, int]


def windowed_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: Window,
    lengths: Tensor | None = None,
    backend: str = "auto",
    first_query: int = 0,
) -> Tensor:
    """Softmax attention with scale 1 / sqrt(E) of q [B, H, T, E] over the keys of each query's window.

    Args:
        k, v: keys and values [B, H, S, E].
        window: keys (before, after) a query's own position that it sees, besides the one at its position.
        lengths: [B] valid keys of each item; those beyond are never seen. A query that then sees none gives some
            finite output.
        backend: sdpa (block-local over torch's SDPA), flex (torch FlexAttention, compiled on CUDA), flash (flash-attn,
            half precision on CUDA; extra `flash`), or auto: sdpa on CPU, the fastest one that serves on CUDA.
        first_query: position of query 0 among the keys; query t stands at first_query + t. For streams, which keep
            keys of frames whose queries are done.

    Returns:
        [B, H, T, E].

    Raises:
        ValueError: shapes that do not fit, queries that stand outside the keys, an unknown backend, or one that
            cannot serve these inputs.
        ImportError: backend flash without flash-attn.
    """
    _check(q, k, v, window, lengths, first_query)
    if backend not in BACKENDS:
        raise ValueError(f"no attention backend {backend!r}: known are {', '.join(BACKENDS)}")
    if backend == "auto":
        backend = _best_backend(q, k, lengths)
    attend: dict[str, Callable[..., Tensor]] = {"sdpa": _block_local, "flex": _flex, "flash": _flash}
    return attend[backend](q, k, v, window, lengths, first_query)


def _check(q: Tensor, k: Tensor, v: Tensor, window: Window, lengths: Tensor | None, first_query: int) -> None:
    if q.ndim != 4 or k.shape != v.shape or (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        shapes = ", ".join(str(tuple(t.shape)) for t in (q, k, v))
        raise ValueError(f"attention takes q [B, H, T, E] and k, v [B, H, S, E], got {shapes}")
    if min(window) < 0:
        raise ValueError(f"window must be (before, after), neither negative, got {window}")
    if first_query < 0 or first_query + q.shape[2] > k.shape[2]:
        last = first_query + q.shape[2] - 1
        raise ValueError(f"queries {first_query} ... {last} stand outside the {k.shape[2]} keys")
    if lengths is not None and lengths.shape != q.shape[:1]:
        raise ValueError(f"lengths must be [{len(q)}], one an item, got {tuple(lengths.shape)}")


def _best_backend(q: Tensor, k: Tensor, lengths: Tensor | None) -> str:
    if not q.is_cuda or q.shape[2] != k.shape[2]:
        return "sdpa"
    if q.dtype in (torch.float16, torch.bfloat16) and lengths is None and _installed("flash_attn"):
        return "flash"
    # one block needs no compiler, and compiled flex needs Triton
    return "flex" if q.shape[2] > FLEX_BLOCK and _installed("triton") else "sdpa"


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _block_local(q: Tensor, k: Tensor, v: Tensor, window: Window, lengths: Tensor | None, first_query: int) -> Tensor:
    """Each block of queries against the keys that any of them sees, behind one band mask that all blocks share."""
    before, after = window
    num_queries, num_keys = q.shape[2], k.shape[2]
    if lengths is None and first_query + num_queries - 1 <= before and num_keys - 1 <= first_query + after:
        return F.scaled_dot_product_attention(q, k, v)  # all see all, as in most steps of a stream
    block = min(BLOCK_QUERIES, num_queries)
    band = _band_mask(block, window, q)
    blocks = []
    for start in range(0, num_queries, block):
        stop = min(start + block, num_queries)
        band_start = first_query + start - before  # key under the band's first column; may lie before key 0
        low, high = max(band_start, 0), min(first_query + stop + after, num_keys)
        mask = band[: stop - start, low - band_start : high - band_start]
        if lengths is not None:
            hidden = torch.arange(low, high, device=q.device) >= lengths[:, None]
            # finite, so that a query all of whose keys are hidden gives a number
            mask = mask.masked_fill(hidden[:, None, None], torch.finfo(q.dtype).min)
        mixed = F.scaled_dot_product_attention(q[:, :, start:stop], k[:, :, low:high], v[:, :, low:high], mask)
        blocks.append(mixed.transpose(1, 2))
    # joined time-major: undoing the head split of the result is then free
    return torch.cat(blocks, dim=1).transpose(1, 2)


def _band_mask(num_queries: int, window: Window, like: Tensor) -> Tensor:
    """Additive mask [num_queries, num_queries + before + after]: query r sees columns r ... r + before + after."""
    width = sum(window)
    hidden = like.new_full((num_queries, num_queries + width), -torch.inf)
    return hidden.triu(width + 1) + hidden.tril(-1)


def _flex(q: Tensor, k: Tensor, v: Tensor, window: Window, lengths: Tensor | None, first_query: int) -> Tensor:
    """Torch FlexAttention with the blocks of the band; compiled on CUDA, eager (slow, for tests) elsewhere."""
    key = q.shape[2], k.shape[2], window, first_query, q.device
    mask = _cached_band_mask(*key) if lengths is None else flex_band_mask(*key, lengths)
    return _flex_attention(q.is_cuda)(q, k, v, block_mask=mask)


@functools.cache
def _flex_attention(compiled: bool) -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention) if compiled else flex_attention  # type: ignore[arg-type, return-value]


def flex_band_mask(
    num_queries: int,
    num_keys: int,
    window: Window,
    first_query: int,
    device: torch.device,
    lengths: Tensor | None = None,
) -> Any:
    """FlexAttention's `BlockMask` of the band, for keys below `lengths` [B].

    The blocks are written down, not searched for in a T x S mask as torch's `create_block_mask` does.
    """
    from torch.nn.attention.flex_attention import BlockMask

    before, after = window

    def in_band(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        distance = key - query - first_query
        return (distance >= -before) & (distance <= after)

    def in_item(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return in_band(batch, head, query, key) & (key < lengths[batch])  # type: ignore[index]

    starts = torch.arange(0, num_queries, FLEX_BLOCK, device=device) + first_query
    ends = (starts + FLEX_BLOCK).clamp_max(first_query + num_queries)
    low = (starts - before).clamp_min(0) // FLEX_BLOCK
    high = (ends - 1 + after).clamp_max(num_keys - 1) // FLEX_BLOCK
    columns = torch.arange(-(-num_keys // FLEX_BLOCK), device=device)
    shape = (1 if lengths is None else len(lengths), 1, len(starts))
    # torch reads the first `count` entries of each row; the others must only be valid block numbers
    indices = (low[:, None] + columns).clamp_max(len(columns) - 1)
    return BlockMask.from_kv_blocks(
        (high - low + 1).to(torch.int32).expand(shape).contiguous(),
        indices.to(torch.int32).expand(*shape, -1).contiguous(),
        BLOCK_SIZE=FLEX_BLOCK,
        mask_mod=in_band if lengths is None else in_item,
        seq_lengths=(num_queries, num_keys),
    )


# one mask serves all layers of a rate, in inference and, as a plain tensor, in training as well
_cached_band_mask = functools.lru_cache(maxsize=16)(torch.inference_mode(False)(flex_band_mask))


def _flash(q: Tensor, k: Tensor, v: Tensor, window: Window, lengths: Tensor | None, first_query: int) -> Tensor:
    """flash-attn's own sliding window; items of unequal length one by one."""
    if not _installed("flash_attn"):
        raise ImportError("attention backend 'flash' needs flash-attn: pip install 'latentune[flash]'")
    if not q.is_cuda or q.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"flash-attn takes half precision on CUDA, got {q.dtype} on {q.device}: use 'auto'")
    if q.shape[2] != k.shape[2]:
        raise ValueError("flash-attn serves here where queries and keys are the same frames: use 'sdpa' for streams")
    from flash_attn import flash_attn_func

    q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [B, T, H, E]
    if lengths is None:
        return flash_attn_func(q, k, v, window_size=window).transpose(1, 2)
    out = torch.zeros_like(q)
    for item, length in enumerate(lengths.tolist()):
        own = slice(item, item + 1), slice(0, length)
        out[own] = flash_attn_func(q[own], k[own], v[own], window_size=window)
    return out.transpose(1, 2)
