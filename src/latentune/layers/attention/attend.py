"""One attention for the whole library: `attend`, its checks, and the choice of a backend.

Shape letters: B batch, H heads, T queries, S keys, E features of a head.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from .flash import flash_attention, flash_serves
from .flex import FLEX_BLOCK, flex_attention
from .masks import Documents, KeyPadding, Mask, Pattern
from .sdpa import sdpa_attention

Backend = Literal["auto", "sdpa", "flex", "flash"]
HALF = (torch.float16, torch.bfloat16)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Mask | None = None,
    *,
    bias: Tensor | Sequence[Tensor] | None = None,
    first_query: int = 0,
    backend: Backend = "auto",
) -> Tensor:
    """Computes softmax attention with scale 1 / sqrt(E) of queries q [B, H, T, E].

    A query that sees no key gives zeros.

    Args:
        q: queries [B, H, T, E].
        k: keys [B, H, S, E].
        v: values [B, H, S, E].
        mask: which keys a query sees; None: all of them. A full batch should pass None, since most fused kernels
            accept no mask tensor.
        bias: values added to the scores before the softmax, of the dtype of q, in a shape that broadcasts to
            [B, H, T, S]; -inf hides a key. With `Documents` also one for each item, for its own queries and keys. Only
            `sdpa` serves it.
        first_query: position of query 0 among the keys; query t is at first_query + t. Streams, which keep the keys of
            frames whose queries are done, need it.
        backend: `sdpa` (torch's scaled_dot_product_attention), `flex` (torch's FlexAttention, compiled on CUDA),
            `flash` (flash-attn, half precision on CUDA; extra `flash`), or `auto`: the fastest one that can serve
            these inputs, which is `sdpa` on the CPU.

    Returns:
        Attended values [B, H, T, E].

    Raises:
        ValueError: the shapes do not fit, queries lie outside the keys, or the backend is unknown or cannot serve
            these inputs.
        ImportError: `flash` is asked for and flash-attn is not installed.
    """
    pattern, seen = (mask.pattern, mask.seen) if isinstance(mask, KeyPadding) else (mask, None)
    _check(q, k, v, pattern, seen, first_query)
    if not (bias is None or isinstance(bias, Tensor)) and not (
        isinstance(pattern, Documents) and len(bias) == len(pattern.lengths)
    ):
        raise ValueError(f"{len(bias)} biases need a mask of as many documents, got {pattern}")
    if backend not in get_args(Backend):
        raise ValueError(f"unknown attention backend {backend!r}: known are {', '.join(get_args(Backend))}")
    if backend == "auto":
        backend = _best_backend(q, k, pattern, seen, bias is not None)
    if backend == "sdpa":
        return sdpa_attention(q, k, v, pattern, seen, bias, first_query)
    if bias is not None:
        raise ValueError(f"the attention backend {backend!r} takes no bias: use 'sdpa' or 'auto'")
    if backend == "flex":
        return flex_attention(q, k, v, pattern, seen, first_query)
    return flash_attention(q, k, v, pattern, seen)


def _check(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern | None, seen: Tensor | None, first_query: int) -> None:
    if q.ndim != 4 or k.shape != v.shape or (*q.shape[:2], q.shape[3]) != (*k.shape[:2], k.shape[3]):
        shapes = ", ".join(str(tuple(t.shape)) for t in (q, k, v))
        raise ValueError(f"attention takes q [B, H, T, E] and k, v [B, H, S, E], got {shapes}")
    if isinstance(pattern, Documents):
        _check_documents(q, k, pattern, seen, first_query)
    elif pattern is not None and (first_query < 0 or first_query + q.shape[2] > k.shape[2]):
        last = first_query + q.shape[2] - 1
        raise ValueError(f"queries {first_query} ... {last} lie outside the {k.shape[2]} keys")
    if seen is not None and seen.shape != (k.shape[0], k.shape[2]):
        expected = [k.shape[0], k.shape[2]]
        raise ValueError(f"key padding must be {expected}, one entry per key of each item, got {list(seen.shape)}")


def _check_documents(q: Tensor, k: Tensor, documents: Documents, seen: Tensor | None, first_query: int) -> None:
    (queries, keys), expected = documents.items[-1], (q.shape[2], k.shape[2])
    if (queries.stop, keys.stop) != expected or seen is not None or first_query:
        raise ValueError(
            f"documents of {queries.stop} queries and {keys.stop} keys, without padding and from the first query on, "
            f"do not fit {expected[0]} queries and {expected[1]} keys"
        )


def _best_backend(q: Tensor, k: Tensor, pattern: Pattern | None, seen: Tensor | None, biased: bool) -> Backend:
    # without a pattern, torch chooses among its own fused kernels; lengths are compared after that, since a graph with
    # free lengths would be bound to the answer
    if not q.is_cuda or pattern is None or biased:
        return "sdpa"
    if q.shape[2] != k.shape[2] and not isinstance(pattern, Documents):
        return "sdpa"
    if q.dtype in HALF and seen is None and flash_serves(pattern) and _installed("flash_attn"):
        return "flash"
    # one block needs no compiler, and compiled flex needs Triton
    return "flex" if q.shape[2] > FLEX_BLOCK and _installed("triton") else "sdpa"


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
