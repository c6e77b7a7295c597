"""Attention over items that are set end to end."""

import itertools
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.layers.attention import Causal, ChunkCausal, Documents, KeyPadding, Pattern, SlidingWindow, attend, flash

LENGTHS = (5, 150, 9)


def packed_heads(documents: Documents, batch: int = 1) -> list[Tensor]:
    """Queries, keys and values."""
    random, (queries, keys) = torch.Generator().manual_seed(0), documents.items[-1]
    return [torch.randn(batch, 2, size, 8, generator=random) for size in (queries.stop, keys.stop, keys.stop)]


def one_by_one(q: Tensor, k: Tensor, v: Tensor, documents: Documents) -> Tensor:
    """Each item alone."""
    return torch.cat(
        [
            attend(q[:, :, rows], k[:, :, keys], v[:, :, keys], documents.inner)
            if keys.stop > keys.start
            else torch.zeros_like(q[:, :, rows])
            for rows, keys in documents.items
        ],
        2,
    )


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
@pytest.mark.parametrize(
    ("key_lengths", "inner"),
    [(None, None), ((3, 0, 70), None), (None, Causal()), (None, ChunkCausal(4, 2)), (None, SlidingWindow(3, 1))],
)
def test_a_document_sees_its_own_keys_alone(
    backend: Any, key_lengths: tuple[int, ...] | None, inner: Pattern | None
) -> None:
    documents = Documents(LENGTHS, key_lengths, inner)
    q, k, v = packed_heads(documents)
    torch.testing.assert_close(attend(q, k, v, documents, backend=backend), one_by_one(q, k, v, documents))
    queries = torch.arange(sum(LENGTHS))
    for bound in (0, 1):
        whole = documents.bounds(queries)[bound]
        assert whole.tolist() == [documents.bounds(int(query))[bound] for query in queries]


def test_documents_that_do_not_fit_are_refused() -> None:
    q = torch.randn(1, 1, 4, 8)
    with pytest.raises(ValueError, match="documents of 5 queries and 5 keys"):
        attend(q, q, q, Documents((2, 3)))
    with pytest.raises(ValueError, match="without padding"):
        attend(q, q, q, KeyPadding(torch.ones(1, 4, dtype=torch.bool), Documents((2, 2))))
    with pytest.raises(ValueError, match="lengths of at least 1"):
        Documents((2, 0))
    with pytest.raises(ValueError, match="each with its keys"):
        Documents((2, 2), (1,))
    with pytest.raises(ValueError, match="leave key_lengths out"):
        Documents((2, 2), (1, 1), Causal())
    for mask in (Causal(), Documents((1, 3))):
        with pytest.raises(ValueError, match="3 biases need a mask of as many documents"):
            attend(q, q, q, mask, bias=[torch.zeros(1, 1)] * 3)


def test_each_document_has_a_bias_of_its_own() -> None:
    documents = Documents((4, 6))
    q, k, v = packed_heads(documents)
    biases = [torch.randn(size, size) for size in (4, 6)]
    whole = torch.block_diag(*biases)
    torch.testing.assert_close(attend(q, k, v, documents, bias=biases), attend(q, k, v, documents, bias=whole))


def varlen(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """The contract of flash-attn's kernel for packed items, in plain torch: q, k and v [N, H, E]."""
    assert q.ndim == 3
    ends_q, ends_k = options["cu_seqlens_q"], options["cu_seqlens_k"]
    assert ends_q.dtype == ends_k.dtype == torch.int32
    assert (int(ends_q[-1]), int(ends_k[-1])) == (len(q), len(k))
    assert options["max_seqlen_q"] == int(ends_q.diff().max())
    assert options["max_seqlen_k"] == int(ends_k.diff().max())
    before, after = options["window_size"]
    made = torch.empty_like(q)
    places = list(zip(ends_q.tolist(), ends_k.tolist(), strict=True))
    for (row, key), (next_row, next_key) in itertools.pairwise(places):
        pattern: Pattern | None = Causal() if options["causal"] else None
        if before >= 0:
            pattern = SlidingWindow(before, after)
        parts = [x.transpose(0, 1)[None] for x in (q[row:next_row], k[key:next_key], v[key:next_key])]
        made[row:next_row] = attend(parts[0], parts[1], parts[2], pattern, backend="sdpa")[0].transpose(0, 1)
    return made


@pytest.mark.parametrize(
    ("key_lengths", "inner"), [(None, None), ((3, 1, 70), None), (None, Causal()), (None, SlidingWindow(3, 1))]
)
@pytest.mark.parametrize("batch", [1, 2])
def test_flash_attn_gets_where_documents_begin_and_end(
    monkeypatch: pytest.MonkeyPatch, key_lengths: tuple[int, ...] | None, inner: Pattern | None, batch: int
) -> None:
    """On a kernel in plain torch, since flash-attn runs on CUDA alone."""
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(flash_attn_func=None, flash_attn_varlen_func=varlen))
    documents = Documents(LENGTHS, key_lengths, inner)
    q, k, v = packed_heads(documents, batch)
    assert flash.flash_serves(documents)
    torch.testing.assert_close(flash.attend_documents(q, k, v, documents), one_by_one(q, k, v, documents))


def test_flash_attn_is_not_asked_for_what_it_cannot_do() -> None:
    assert not flash.flash_serves(Documents((2, 2), inner=ChunkCausal(2)))
    assert not flash.flash_serves(Documents((2, 2), (0, 3)))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_training_in_half_precision_on_a_cpu_is_computed_in_float32(dtype: torch.dtype) -> None:
    documents = Documents(LENGTHS)
    heads = [head.to(dtype).requires_grad_() for head in packed_heads(documents)]
    full = [head.detach().float().requires_grad_() for head in heads]
    out, expected = attend(*heads, documents), attend(*full, documents)  # type: ignore[misc]
    assert out.dtype is dtype
    assert torch.equal(out, expected.to(dtype))
    (out.float() ** 2).sum().backward()
    (expected.to(dtype).float() ** 2).sum().backward()
    for head, exact in zip(heads, full, strict=True):
        assert head.grad is not None
        assert exact.grad is not None
        assert head.grad.dtype is dtype
        assert torch.equal(head.grad, exact.grad.to(dtype))
