"""Attention over torch's FlexAttention, which skips blocks of keys that no query of a block sees.

Shape letters: B batch, H heads, T queries, S keys, E features of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .masks import Pattern

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

FLEX_BLOCK = 128  # FlexAttention's own default


def flex_attention(
    q: Tensor, k: Tensor, v: Tensor, pattern: Pattern | None, seen: Tensor | None, first_query: int
) -> Tensor:
    """Computes `attend` for q [B, H, T, E] and k, v [B, H, S, E]; compiled on CUDA, eager (slow, for tests) elsewhere.

    Args:
        q: queries.
        k: keys.
        v: values.
        pattern: which keys a query sees by position; None: all.
        seen: [B, S] bool, True where a key is real; None: all are.
        first_query: position of query 0 among the keys.

    Returns:
        [B, H, T, E].
    """
    mask = None
    if pattern is not None or seen is not None:
        key = q.shape[2], k.shape[2], pattern, first_query, q.device
        mask = _cached_block_mask(*key) if seen is None else flex_block_mask(*key, seen)
    return _kernel(q.is_cuda)(q, k, v, block_mask=mask)


@functools.cache
def _kernel(compiled: bool) -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention

    kernel: Any = flex_attention  # its result depends on arguments that are not used here
    compiled_kernel: Callable[..., Tensor] = torch.compile(kernel) if compiled else kernel
    return compiled_kernel


def flex_block_mask(
    num_queries: int,
    num_keys: int,
    pattern: Pattern | None,
    first_query: int,
    device: torch.device,
    seen: Tensor | None = None,
) -> BlockMask:
    """Returns FlexAttention's mask of a pattern.

    The blocks follow from the pattern's bounds; torch's `create_block_mask` searches for them in a [T, S] mask.

    Args:
        num_queries: T.
        num_keys: S.
        pattern: which keys a query sees by position; None: all.
        first_query: position of query 0 among the keys.
        device: where the mask is used.
        seen: [B, S] bool, True where a key is real; None: all are.

    Returns:
        A mask for one item if `seen` is None, for B items otherwise.
    """
    from torch.nn.attention.flex_attention import BlockMask

    def allowed(query: Tensor, key: Tensor) -> Tensor:
        if pattern is None:
            return key >= 0
        first, last = pattern.bounds(query + first_query)
        return (key >= first) & (key <= last)

    def by_position(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return allowed(query, key)

    def by_item(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        assert seen is not None
        return allowed(query, key) & seen[batch, key]

    low, high = _block_ranges(num_queries, num_keys, pattern, first_query, device)
    columns = torch.arange(-(-num_keys // FLEX_BLOCK), device=device)
    shape = (1 if seen is None else len(seen), 1, len(low))
    # torch reads the first `count` entries of each row; the others only have to be valid block numbers
    indices = (low[:, None] + columns).clamp_max(len(columns) - 1)
    blocks: BlockMask = BlockMask.from_kv_blocks(
        (high - low + 1).to(torch.int32).expand(shape).contiguous(),
        indices.to(torch.int32).expand(*shape, -1).contiguous(),
        BLOCK_SIZE=FLEX_BLOCK,
        mask_mod=by_position if seen is None else by_item,
        seq_lengths=(num_queries, num_keys),
    )
    return blocks


def _block_ranges(
    num_queries: int, num_keys: int, pattern: Pattern | None, first_query: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Returns the first and the last block of keys that each block of queries sees."""
    starts = torch.arange(0, num_queries, FLEX_BLOCK, device=device) + first_query
    if pattern is None:
        return torch.zeros_like(starts), torch.full_like(starts, (num_keys - 1) // FLEX_BLOCK)
    ends = (starts + FLEX_BLOCK).clamp_max(first_query + num_queries)
    low, high = pattern.bounds(starts)[0].clamp_min(0), pattern.bounds(ends - 1)[1].clamp_max(num_keys - 1)
    return low // FLEX_BLOCK, high // FLEX_BLOCK


# one mask serves all layers of a rate, in inference and, as a plain tensor, in training as well
_cached_block_mask = functools.lru_cache(maxsize=16)(torch.inference_mode(False)(flex_block_mask))
