"""`attend`: on every backend, each mask shows a query the keys that it says and no others."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from latentune.layers.attention import Causal, ChunkCausal, KeyPadding, Mask, Pattern, SlidingWindow, attend, flex
from latentune.layers.attention.sdpa import BLOCK_QUERIES

# eager flex, which tests alone use, warns that it is slow
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without")
HAS_CUDA = torch.cuda.is_available()
HAS_FLASH = importlib.util.find_spec("flash_attn") is not None
BACKENDS = ("sdpa", "flex")


def heads(num_queries: int, num_keys: int | None = None, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_queries)
    shapes = [(batch, 3, length, 16) for length in (num_queries, num_keys or num_queries, num_keys or num_queries)]
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return q, k, v


def sees(pattern: Pattern | None, query: int, key: int) -> bool:
    """The rule of each pattern in words of its own, for one pair of positions."""
    match pattern:
        case SlidingWindow(before, after):
            return -before <= key - query <= after
        case Causal():
            return key <= query
        case ChunkCausal(size, None):
            return key // size <= query // size
        case ChunkCausal(size, past):
            return 0 <= query // size - key // size <= past or key // size == query // size
    return True


def visible(mask: Mask | None, num_queries: int, num_keys: int, first_query: int = 0) -> Tensor:
    """[T, S], or [B, 1, T, S] with key padding, pair by pair."""
    pattern, seen = (mask.pattern, mask.seen) if isinstance(mask, KeyPadding) else (mask, None)
    pairs = visible_pairs(pattern, num_queries, num_keys, first_query)
    return pairs if seen is None else pairs & seen[:, None, None]


@functools.cache
def visible_pairs(pattern: Pattern | None, num_queries: int, num_keys: int, first_query: int) -> Tensor:
    rows = range(first_query, first_query + num_queries)
    return torch.tensor([[sees(pattern, i, j) for j in range(num_keys)] for i in rows])


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax over the visible keys, written out in float64; a query that sees none gives zeros."""
    scores = q.double() @ k.double().transpose(-1, -2) / q.shape[-1] ** 0.5
    scores = scores if bias is None else scores + bias.double()
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1).nan_to_num()
    return (weights @ v.double()).float()


LENGTHS = (1, 2, BLOCK_QUERIES, BLOCK_QUERIES + 1, 200)
WINDOWS = tuple(SlidingWindow(*sides) for sides in ((63, 64), (5, 0), (0, 0), (0, 9), (300, 300)))
CHUNKS = (ChunkCausal(1), ChunkCausal(7), ChunkCausal(100), ChunkCausal(7, 2), ChunkCausal(80, 0), ChunkCausal(500))
PATTERNS: tuple[Pattern, ...] = (*WINDOWS, Causal(), *CHUNKS)


@pytest.mark.parametrize("pattern", [None, *PATTERNS])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_sees_what_the_pattern_says_and_nothing_else(
    backend: str, length: int, pattern: Pattern | None
) -> None:
    q, k, v = heads(length)
    out = attend(q, k, v, pattern, backend=backend)
    torch.testing.assert_close(out, reference(q, k, v, visible(pattern, length, length)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("pattern", [None, *PATTERNS])
@pytest.mark.parametrize("backend", BACKENDS)
def test_keys_that_are_padding_are_never_seen(backend: str, pattern: Pattern | None) -> None:
    q, k, v = heads(200)
    mask = KeyPadding.from_lengths(torch.tensor([200, 70]), 200, pattern)
    out = attend(q, k, v, mask, backend=backend)
    torch.testing.assert_close(out, reference(q, k, v, visible(mask, 200, 200)), atol=1e-5, rtol=0)
    k[1, :, 70:], v[1, :, 70:] = 50.0, -1000.0
    torch.testing.assert_close(attend(q, k, v, mask, backend=backend), out)


@pytest.mark.parametrize("pattern", [None, Causal(), SlidingWindow(5, 5)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_query_that_sees_no_key_gives_zeros(backend: str, pattern: Pattern | None) -> None:
    leaves = [t.requires_grad_() for t in heads(100)] if backend == "sdpa" else list(heads(100))
    seen = torch.ones(2, 100, dtype=torch.bool)
    seen[1] = False
    out = attend(*leaves, KeyPadding(seen, pattern), backend=backend)
    assert torch.equal(out[1], torch.zeros_like(out[1]))
    assert out[0].all()
    if backend == "sdpa":
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(out.square().sum(), leaves))


def test_padding_may_lie_anywhere() -> None:
    q, k, v = heads(90)
    seen = torch.rand(2, 90, generator=torch.Generator().manual_seed(1)) < 0.5
    for backend in BACKENDS:
        mask = KeyPadding(seen, SlidingWindow(3, 3))
        out = attend(q, k, v, mask, backend=backend)
        torch.testing.assert_close(out, reference(q, k, v, visible(mask, 90, 90)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_a_pattern_queries_and_keys_may_be_different_sequences(backend: str) -> None:
    q, k, v = heads(90, 7)
    mask = KeyPadding.from_lengths(torch.tensor([7, 2]), 7)
    for spec in (None, mask):
        out = attend(q, k, v, spec, backend=backend)
        torch.testing.assert_close(out, reference(q, k, v, visible(spec, 90, 7)), atol=1e-5, rtol=0)


CASES = [(1, 128, 127), (80, 300, 100), (3, 10, 0), (100, 300, 200)]


@pytest.mark.parametrize(("num_queries", "num_keys", "first_query"), CASES)
@pytest.mark.parametrize("pattern", [SlidingWindow(63, 64), Causal(), ChunkCausal(7), ChunkCausal(90, 1)])
@pytest.mark.parametrize("backend", BACKENDS)
def test_queries_may_be_anywhere_among_the_keys(
    backend: str, pattern: Pattern, num_queries: int, num_keys: int, first_query: int
) -> None:
    q, k, v = heads(num_queries, num_keys)
    out = attend(q, k, v, pattern, first_query=first_query, backend=backend)
    expected = reference(q, k, v, visible(pattern, num_queries, num_keys, first_query))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(2, 3, 150, 150), (3, 150, 150), (150, 150), (3, 1, 150), (2, 1, 150, 1)])
@pytest.mark.parametrize("pattern", [None, Causal(), SlidingWindow(10, 7)])
@pytest.mark.parametrize("padded", [False, True])
def test_a_bias_is_added_to_the_scores(padded: bool, pattern: Pattern | None, shape: tuple[int, ...]) -> None:
    q, k, v = heads(150)
    bias = torch.randn(shape, generator=torch.Generator().manual_seed(2)) * 3
    mask: Mask | None = KeyPadding.from_lengths(torch.tensor([150, 40]), 150, pattern) if padded else pattern
    out = attend(q, k, v, mask, bias=bias)
    torch.testing.assert_close(out, reference(q, k, v, visible(mask, 150, 150), bias), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", [(7,), (1, 7), (5, 7), (2, 5, 7), (1, 5, 7), (3, 2, 5, 7)])
def test_a_bias_of_any_shape_is_served_by_the_fused_kernel(shape: tuple[int, ...]) -> None:
    q, k, v = torch.randn(3, 2, 5, 8), torch.randn(3, 2, 7, 8), torch.randn(3, 2, 7, 8)
    bias = torch.randn(shape)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), torch.inference_mode():  # fails where it does not serve
        fused = attend(q, k, v, bias=bias)
    torch.testing.assert_close(fused, torch.softmax(q @ k.mT * 8**-0.5 + bias, -1) @ v)


@pytest.mark.parametrize("pattern", [SlidingWindow(10, 7), Causal(), ChunkCausal(40)])
def test_gradients_are_those_of_the_masked_form(pattern: Pattern) -> None:
    leaves = [t.requires_grad_() for t in heads(150)]
    weights = torch.randn(2, 3, 150, 16, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad((attend(*leaves, pattern) * weights).sum(), leaves)
    theirs = torch.autograd.grad((reference(*leaves, visible(pattern, 150, 150)) * weights).sum(), leaves)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=0)


@pytest.fixture
def masks_given(monkeypatch: pytest.MonkeyPatch) -> list[Tensor | None]:
    """The mask of each call of torch's kernel."""
    given: list[Tensor | None] = []
    kernel = F.scaled_dot_product_attention

    def counted(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, **options: bool) -> Tensor:
        given.append(attn_mask)
        return kernel(q, k, v, attn_mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", counted)
    return given


@pytest.mark.parametrize(
    ("mask", "calls"), [(None, 1), (Causal(), 1), (ChunkCausal(100), 3), (SlidingWindow(299, 299), 1)]
)
def test_no_mask_tensor_is_made_where_none_is_needed(
    mask: Mask | None, calls: int, masks_given: list[Tensor | None]
) -> None:
    """Torch's flash kernel takes no mask tensor."""
    attend(*heads(300), mask)
    assert masks_given == [None] * calls


def test_a_step_of_a_stream_needs_no_mask(masks_given: list[Tensor | None]) -> None:
    for pattern in (Causal(), SlidingWindow(127, 0), ChunkCausal(8)):
        attend(*heads(1, 128), pattern, first_query=127)
    assert masks_given == [None] * 3


def test_a_flex_mask_made_in_inference_serves_training_too() -> None:
    with torch.inference_mode():
        attend(*heads(40), SlidingWindow(3, 4), backend="flex")
        mask = flex._cached_block_mask(40, 40, SlidingWindow(3, 4), 0, torch.device("cpu"))
    assert not mask.kv_indices.is_inference()


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // tensor.element_size())
        return out


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("pattern", [SlidingWindow(63, 64), ChunkCausal(32, 3)])
def test_no_tensor_grows_with_the_square_of_the_length(pattern: Pattern, padded: bool) -> None:
    q, k, v = heads(4096, batch=1)
    mask = KeyPadding.from_lengths(torch.tensor([4096]), 4096, pattern) if padded else pattern
    with Largest() as largest:
        attend(q, k, v, mask)
    assert largest.numel == q.numel()


@pytest.mark.parametrize("pattern", [None, *PATTERNS])
@pytest.mark.parametrize(("num_queries", "num_keys", "first_query"), [(400, 400, 0), (200, 390, 133), (1, 1, 0)])
def test_the_blocks_given_to_flex_hold_every_seen_pair(
    num_queries: int, num_keys: int, first_query: int, pattern: Pattern | None
) -> None:
    """Eager flex looks at the mask alone; compiled, it visits these blocks and no others."""
    mask = flex.flex_block_mask(num_queries, num_keys, pattern, first_query, torch.device("cpu"))
    visited = mask.to_dense()[0, 0].bool()  # [blocks of queries, blocks of keys]
    pairs = visible(pattern, num_queries, num_keys, first_query)
    pairs = F.pad(pairs, (0, -num_keys % 128, 0, -num_queries % 128))
    needed = pairs.reshape(visited.shape[0], 128, visited.shape[1], 128).any(3).any(1)
    assert torch.equal(visited, needed)


COMPILED = """
import torch
from latentune.layers.attention import ChunkCausal, SlidingWindow, attend, flex
generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 2, 3, 700, 16, generator=generator)
for pattern in (SlidingWindow(63, 64), ChunkCausal(30)):
    mask = flex.flex_block_mask(700, 700, pattern, 0, q.device)
    with torch.no_grad():
        out = flex._kernel(True)(q, k, v, block_mask=mask)
    torch.testing.assert_close(out, attend(q, k, v, pattern, backend="sdpa"), atol=1e-5, rtol=0)
"""


@pytest.mark.slow
def test_compiled_flex_sees_the_same(tmp_path: Path) -> None:
    """In a process and with a cache of its own: torch's kernel for CPUs is kept for any number of threads, but has
    buffers for as many as there were when it was compiled, and writes beyond them with more."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env=environment)


def test_half_precision_stays_near() -> None:
    q, k, v = heads(200)
    expected = attend(q, k, v, SlidingWindow(20, 30))
    mask = KeyPadding.from_lengths(torch.tensor([200, 3]), 200, SlidingWindow(20, 30))
    for dtype in (torch.bfloat16, torch.float16):
        out = attend(q.to(dtype), k.to(dtype), v.to(dtype), mask)
        assert out.dtype == dtype
        assert out.isfinite().all()
        torch.testing.assert_close(out[0].float(), expected[0], atol=0.03, rtol=0)


def test_what_cannot_be_is_refused() -> None:
    q, k, v = heads(20)
    window = SlidingWindow(3, 3)
    with pytest.raises(ValueError, match="known are auto, sdpa, flex, flash"):
        attend(q, k, v, window, backend="triton")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neither of them negative"):
        SlidingWindow(-1, 3)
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        ChunkCausal(0)
    with pytest.raises(ValueError, match="past_chunks None or at least 0"):
        ChunkCausal(4, -1)
    with pytest.raises(ValueError, match=r"k, v \[B, H, S, E\]"):
        attend(q, k, v[:, :, :10], window)
    with pytest.raises(ValueError, match=r"5 \.\.\. 24 lie outside the 20 keys"):
        attend(q, k, v, window, first_query=5)
    with pytest.raises(ValueError, match="one entry per key of each item"):
        attend(q, k, v, KeyPadding.from_lengths(torch.tensor([20]), 20, window))
    with pytest.raises(ValueError, match="bool tensor"):
        KeyPadding(torch.ones(2, 20))
    with pytest.raises(ValueError, match="takes no bias"):
        attend(q, k, v, window, bias=torch.zeros(20, 20), backend="flex")


@pytest.mark.skipif(HAS_FLASH, reason="flash-attn is installed")
def test_a_missing_flash_attn_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"pip install 'flash-attn>="):
        attend(*heads(20), SlidingWindow(3, 3), backend="flash")


@pytest.mark.skipif(not HAS_CUDA, reason="needs a GPU")
@pytest.mark.parametrize("backend", ["auto", "sdpa", "flex"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_backends_agree_on_a_gpu(backend: str, pattern: Pattern) -> None:
    leaves = [t.requires_grad_() for t in heads(700)]
    expected = reference(*leaves, visible(pattern, 700, 700))
    out = attend(*(t.cuda() for t in leaves), pattern, backend=backend).cpu()
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    ours, theirs = (torch.autograd.grad(t.square().sum(), leaves) for t in (out, expected))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-4, rtol=0)


@pytest.mark.skipif(not (HAS_CUDA and HAS_FLASH), reason="needs a GPU and flash-attn")
@pytest.mark.parametrize("pattern", [None, SlidingWindow(63, 64), Causal()])
@pytest.mark.parametrize("lengths", [None, torch.tensor([700, 300])])
def test_flash_agrees_on_a_gpu(lengths: Tensor | None, pattern: Pattern | None) -> None:
    q, k, v = (t.cuda().half() for t in heads(700))
    mask = pattern if lengths is None else KeyPadding.from_lengths(lengths.cuda(), 700, pattern)
    out = attend(q, k, v, mask, backend="flash").float()
    expected = attend(q.float(), k.float(), v.float(), mask, backend="sdpa")
    for item, length in enumerate([700, 700] if lengths is None else lengths.tolist()):
        torch.testing.assert_close(out[item, :, :length], expected[item, :, :length], atol=2e-3, rtol=0)
