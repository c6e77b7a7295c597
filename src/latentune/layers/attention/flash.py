"""Attention over flash-attn (extra `flash`), where it is installed and can serve the inputs.

Shape letters: B batch, H heads, T queries, S keys, E features of a head.
"""

from __future__ import annotations

import itertools
from typing import Any, cast

import torch
from torch import Tensor

from ...core.errors import MissingPackageError
from ...core.extras import install_command
from .masks import Causal, Documents, Pattern, SlidingWindow

UNLIMITED = -1  # flash-attn's word for a window without an end


def flash_serves(pattern: Pattern | None) -> bool:
    """Returns whether flash-attn has a kernel for the pattern."""
    if isinstance(pattern, Documents):  # the kernel is not known to give zeros where an item has no keys
        nested = isinstance(pattern.inner, Documents)
        return flash_serves(pattern.inner) and not nested and 0 not in (pattern.key_lengths or ())
    return pattern is None or isinstance(pattern, (Causal, SlidingWindow))


def flash_attention(q: Tensor, k: Tensor, v: Tensor, pattern: Pattern | None, seen: Tensor | None) -> Tensor:
    """Computes `attend` for q [B, H, T, E] and k, v [B, H, S, E]; items with padding one by one.

    Args:
        q: queries, in half precision on CUDA.
        k: keys.
        v: values.
        pattern: which keys a query sees by position; None: all.
        seen: [B, S] bool, True where a key is real, which in each item must be the first ones; None: all are. With a
            pattern, queries at the position of padding give zeros.

    Returns:
        [B, H, T, E].

    Raises:
        MissingPackageError: flash-attn is not installed.
        ValueError: it cannot serve these inputs; the message says why.
    """
    try:
        from flash_attn import flash_attn_func
    except ImportError as error:
        command = install_command("flash_attn", "flash")
        raise MissingPackageError(f"attention backend 'flash' needs flash-attn: {command}") from error
    if not q.is_cuda or q.dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(f"flash-attn takes half precision on CUDA, got {q.dtype} on {q.device}: use 'auto'")
    if not flash_serves(pattern):
        raise ValueError(f"flash-attn has no kernel for {pattern}: use 'auto'")
    if isinstance(pattern, Documents):
        return attend_documents(q, k, v, pattern)
    if pattern is not None and q.shape[2] != k.shape[2]:
        raise ValueError("flash-attn needs as many queries as keys for a pattern: use 'sdpa' for streams")
    options = _options(pattern)
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))  # [B, T, H, E]
    if seen is None:
        return cast(Tensor, flash_attn_func(q, k, v, **options)).transpose(1, 2)
    out = torch.zeros_like(q)
    for item, length in enumerate(_lengths(seen)):
        keys = slice(item, item + 1), slice(0, length)
        queries = keys if pattern is not None else (keys[0], slice(None))
        if length:
            out[queries] = flash_attn_func(q[queries], k[keys], v[keys], **options)
    return out.transpose(1, 2)


def _options(pattern: Pattern | None) -> dict[str, Any]:
    window = (pattern.before, pattern.after) if isinstance(pattern, SlidingWindow) else (UNLIMITED, UNLIMITED)
    return {"causal": isinstance(pattern, Causal), "window_size": window}


def attend_documents(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """Computes `attend` for documents in one kernel, which takes items of any lengths.

    Args:
        q: queries [B, H, T, E].
        k: keys [B, H, S, E].
        v: values [B, H, S, E].
        documents: that flash-attn serves.

    Returns:
        [B, H, T, E].
    """
    from flash_attn import flash_attn_varlen_func

    batch, heads, _, width = q.shape
    lengths = documents.lengths * batch
    key_lengths = (documents.key_lengths or documents.lengths) * batch
    q, k, v = (t.transpose(1, 2).flatten(0, 1) for t in (q, k, v))  # [B * T, H, E]
    out = flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q=_ends(lengths, q.device),
        cu_seqlens_k=_ends(key_lengths, q.device),
        max_seqlen_q=max(lengths),
        max_seqlen_k=max(key_lengths),
        **_options(documents.inner),
    )
    return cast(Tensor, out).view(batch, -1, heads, width).transpose(1, 2)


def _ends(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """Returns where items of these lengths begin and the last one ends, [items + 1] int32."""
    return torch.tensor((0, *itertools.accumulate(lengths)), dtype=torch.int32, device=device)


def _lengths(seen: Tensor) -> list[int]:
    lengths = seen.sum(1)
    if not torch.equal(seen, torch.arange(seen.shape[1], device=seen.device) < lengths[:, None]):
        raise ValueError("flash-attn needs padding at the end of each item: use 'auto'")
    return [int(length) for length in lengths.tolist()]
