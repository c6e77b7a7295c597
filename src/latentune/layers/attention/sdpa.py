"""Attention over torch's scaled_dot_product_attention, in blocks of queries where a pattern hides keys.

A block meets only the keys that some query of it sees, so time and memory of a window grow linearly with T.
Shape letters: B batch, H heads, T queries, S keys, E features of a head.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .masks import Causal, Documents, Pattern

BLOCK_QUERIES = 64  # at least; of 32 ... 256 the fastest on CPU at window 63 + 64 and E = 128


def sdpa_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    pattern: Pattern | None,
    seen: Tensor | None,
    bias: Tensor | Sequence[Tensor] | None,
    first_query: int,
) -> Tensor:
    """Computes `attend` for q [B, H, T, E] and k, v [B, H, S, E].

    Args:
        q: queries.
        k: keys.
        v: values.
        pattern: which keys a query sees by position; None: all.
        seen: [B, S] bool, True where a key is real; None: all are.
        bias: added to the scores; broadcasts to [B, H, T, S]. With documents, perhaps one for each of them.
        first_query: position of query 0 among the keys.

    Returns:
        [B, H, T, E].
    """
    num_queries, num_keys = q.shape[2], k.shape[2]
    if q.device.type == "cpu" and q.dtype != torch.float32 and q.requires_grad:
        # torch's kernels for the gradient in half precision take two to three times as long as in float32
        full = bias.float() if isinstance(bias, Tensor) else None if bias is None else [one.float() for one in bias]
        return sdpa_attention(q.float(), k.float(), v.float(), pattern, seen, full, first_query).to(q.dtype)
    if isinstance(pattern, Documents):
        return _each_item(q, k, v, pattern, bias)
    assert bias is None or isinstance(bias, Tensor), "attend checks that only documents have several"
    if pattern is None or pattern.sees_all(first_query, num_queries, num_keys):
        return F.scaled_dot_product_attention(q, k, v, _tensor_mask(None, seen, bias))
    if isinstance(pattern, Causal) and seen is None and bias is None and num_queries == num_keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    outputs = []
    for start, stop in _query_blocks(num_queries, first_query, pattern.period):
        first, last = first_query + start, first_query + stop - 1
        low, high = max(pattern.bounds(first)[0], 0), min(pattern.bounds(last)[1] + 1, num_keys)
        table = _block_mask(pattern, first, stop - start, low, high - low, q)
        keys = None if seen is None else seen[:, low:high]
        added = None if bias is None else _cut_bias(bias, start, stop, low, high)
        block = F.scaled_dot_product_attention(
            q[:, :, start:stop], k[:, :, low:high], v[:, :, low:high], _tensor_mask(table, keys, added)
        )
        outputs.append(block.transpose(1, 2))
    # joined time-major: undoing the head split of the result is then free
    return torch.cat(outputs, dim=1).transpose(1, 2)


def _each_item(q: Tensor, k: Tensor, v: Tensor, documents: Documents, bias: Tensor | Sequence[Tensor] | None) -> Tensor:
    """Attends item by item, so that no score between two items is computed."""
    outputs = []
    # cut at once: the gradient of a slice is as long as all items together, that of a split is joined once
    of_queries = q.split([queries.stop - queries.start for queries, _ in documents.items], 2)
    of_keys, of_values = (x.split([keys.stop - keys.start for _, keys in documents.items], 2) for x in (k, v))
    for number, (queries, keys) in enumerate(documents.items):
        if isinstance(bias, Tensor):
            added: Tensor | None = _cut_bias(bias, queries.start, queries.stop, keys.start, keys.stop)
        else:
            added = None if bias is None else bias[number]
        item = of_queries[number]
        if keys.start == keys.stop:
            outputs.append(torch.zeros_like(item))
        else:
            outputs.append(sdpa_attention(item, of_keys[number], of_values[number], documents.inner, None, added, 0))
    return torch.cat(outputs, 2)


def _query_blocks(num_queries: int, first_query: int, period: int) -> list[tuple[int, int]]:
    """Returns start and stop of each block; every stop but the last is at a multiple of the period among the keys."""
    blocks, start, size = [], 0, max(BLOCK_QUERIES, period)
    while start < num_queries:
        stop = min((first_query + start + size) // period * period - first_query, num_queries)
        blocks.append((start, stop))
        start = stop
    return blocks


def _block_mask(pattern: Pattern, first: int, num_queries: int, low: int, num_keys: int, like: Tensor) -> Tensor | None:
    """Returns the additive mask [n, m] of queries from position `first` on and keys from `low` on.

    It is None if nothing is hidden.
    """
    last = first + num_queries - 1
    if pattern.bounds(last)[0] <= low and pattern.bounds(first)[1] >= low + num_keys - 1:
        return None
    phase = first % pattern.period  # blocks at the same place of a period see alike
    # what is made while a graph is traced stands for no numbers, and must not be kept
    make = _additive_mask.__wrapped__ if torch.compiler.is_compiling() else _additive_mask
    return make(pattern, phase, num_queries, low - first, num_keys, like.dtype, like.device)


# blocks and layers share masks, which are plain tensors so that they serve training after inference as well
@functools.lru_cache(maxsize=16)
@torch.inference_mode(False)
def _additive_mask(
    pattern: Pattern,
    first: int,
    num_queries: int,
    offset: int,
    num_keys: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Returns 0 where query first + i sees key first + offset + j, else -inf: [num_queries, num_keys]."""
    keys = torch.arange(first + offset, first + offset + num_keys, device=device)
    low, high = pattern.bounds(torch.arange(first, first + num_queries, device=device)[:, None])
    hidden = (keys < low) | (keys > high)
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill(hidden, -torch.inf)


def _tensor_mask(table: Tensor | None, seen: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """Joins a table [n, m], real keys [B, m] and a bias that broadcasts to [B, H, n, m] to one mask, or None."""
    added = table if bias is None else bias if table is None else table + bias
    while added is not None and added.ndim in (0, 1, 3):
        added = added[None]  # torch's fused kernels take masks of two or four dimensions
    if seen is None:
        return added
    keys = seen[:, None, None]  # [B, 1, 1, m]
    return keys if added is None else added.masked_fill(~keys, -torch.inf)


def _cut_bias(bias: Tensor, start: int, stop: int, low: int, high: int) -> Tensor:
    rows = bias if bias.ndim < 2 or bias.shape[-2] == 1 else bias[..., start:stop, :]
    return rows if rows.shape[-1] == 1 else rows[..., low:high]
