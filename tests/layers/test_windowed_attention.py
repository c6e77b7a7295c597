"""Sliding-window attention: every backend sees exactly the window, in memory that grows linearly with length."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from latentune.layers import attention
from latentune.layers.attention import BLOCK_QUERIES, flex_band_mask, windowed_attention

# eager flex, which tests alone use, warns that it is slow
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without")
HAS_CUDA = torch.cuda.is_available()
HAS_FLASH = importlib.util.find_spec("flash_attn") is not None


def heads(num_queries: int, num_keys: int | None = None, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_queries)
    shapes = [(batch, 3, length, 16) for length in (num_queries, num_keys or num_queries, num_keys or num_queries)]
    q, k, v = (torch.randn(shape, generator=generator) for shape in shapes)
    return q, k, v


def seen(num_queries: int, num_keys: int, window: tuple[int, int], first_query: int = 0) -> Tensor:
    """[T, S], pair by pair."""
    rows = range(first_query, first_query + num_queries)
    return torch.tensor([[i - window[0] <= j <= i + window[1] for j in range(num_keys)] for i in rows])


def reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the seen keys, written out in float64; a query that sees none gives zero."""
    scores = q.double() @ k.double().transpose(-1, -2) / q.shape[-1] ** 0.5
    weights = torch.softmax(scores.masked_fill(~mask, -torch.inf), dim=-1).nan_to_num()
    return (weights @ v.double()).float()


LENGTHS = (1, 2, BLOCK_QUERIES, BLOCK_QUERIES + 1, 200)
WINDOWS = ((63, 64), (5, 0), (0, 0), (0, 9), (300, 300))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_query_sees_its_window_and_nothing_else(length: int, window: tuple[int, int]) -> None:
    q, k, v = heads(length)
    expected = reference(q, k, v, seen(length, length, window))
    torch.testing.assert_close(windowed_attention(q, k, v, window), expected, atol=1e-5, rtol=0)


def test_flex_sees_the_same() -> None:
    q, k, v = heads(200)
    expected = reference(q, k, v, seen(200, 200, (63, 64)))
    torch.testing.assert_close(windowed_attention(q, k, v, (63, 64), backend="flex"), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("backend", ["sdpa", "flex"])
def test_keys_beyond_an_item_are_never_seen(backend: str) -> None:
    q, k, v = heads(200)
    lengths, window = torch.tensor([200, 70]), (20, 30)
    mask = seen(200, 200, window) & (torch.arange(200) < lengths[:, None, None, None])
    out = windowed_attention(q, k, v, window, lengths, backend)
    assert out.isfinite().all()
    expected = reference(q, k, v, mask)
    torch.testing.assert_close(out[0], expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(out[1, :, :70], expected[1, :, :70], atol=1e-5, rtol=0)
    k[1, :, 70:], v[1, :, 70:] = 50.0, -1000.0
    torch.testing.assert_close(windowed_attention(q, k, v, window, lengths, backend)[1, :, :70], out[1, :, :70])


CASES = [(1, 128, 127, "sdpa"), (80, 300, 100, "sdpa"), (3, 10, 0, "sdpa"), (80, 300, 100, "flex")]


@pytest.mark.parametrize(("num_queries", "num_keys", "first_query", "backend"), CASES)
def test_queries_may_stand_anywhere_among_the_keys(
    num_queries: int, num_keys: int, first_query: int, backend: str
) -> None:
    q, k, v = heads(num_queries, num_keys)
    out = windowed_attention(q, k, v, (63, 64), backend=backend, first_query=first_query)
    expected = reference(q, k, v, seen(num_queries, num_keys, (63, 64), first_query))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_gradients_are_those_of_the_masked_form() -> None:
    leaves = [t.requires_grad_() for t in heads(150)]
    weights = torch.randn(2, 3, 150, 16, generator=torch.Generator().manual_seed(0))
    ours = torch.autograd.grad((windowed_attention(*leaves, (10, 7)) * weights).sum(), leaves)
    theirs = torch.autograd.grad((reference(*leaves, seen(150, 150, (10, 7))) * weights).sum(), leaves)
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=0)


def test_a_flex_mask_made_in_inference_serves_training_too() -> None:
    with torch.inference_mode():
        windowed_attention(*heads(40), (3, 4), backend="flex")
        mask = attention._cached_band_mask(40, 40, (3, 4), 0, torch.device("cpu"))
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


@pytest.mark.parametrize("lengths", [None, torch.tensor([4096])])
def test_no_tensor_grows_with_the_square_of_the_length(lengths: Tensor | None) -> None:
    q, k, v = heads(4096, batch=1)
    with Largest() as largest:
        windowed_attention(q, k, v, (63, 64), lengths)
    assert largest.numel == q.numel()


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize(("num_queries", "num_keys", "first_query"), [(1000, 1000, 0), (200, 900, 333), (1, 1, 0)])
def test_the_blocks_given_to_flex_hold_every_seen_pair(
    num_queries: int, num_keys: int, first_query: int, window: tuple[int, int]
) -> None:
    """Eager flex looks at the mask alone; compiled, it visits these blocks and no others."""
    mask = flex_band_mask(num_queries, num_keys, window, first_query, torch.device("cpu"))
    visited = mask.to_dense()[0, 0].bool()  # [blocks of queries, blocks of keys]
    pairs = seen(num_queries, num_keys, window, first_query)
    pairs = torch.nn.functional.pad(pairs, (0, -num_keys % 128, 0, -num_queries % 128))
    needed = pairs.reshape(visited.shape[0], 128, visited.shape[1], 128).any(3).any(1)
    assert torch.equal(visited, needed)


COMPILED = """
import torch
from latentune.tokenizers.parts import attention
generator = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 2, 3, 700, 16, generator=generator)
mask = attention.flex_band_mask(700, 700, (63, 64), 0, q.device)
with torch.no_grad():
    out = attention._flex_attention(True)(q, k, v, block_mask=mask)
torch.testing.assert_close(out, attention.windowed_attention(q, k, v, (63, 64), backend="sdpa"), atol=1e-5, rtol=0)
"""


@pytest.mark.slow
def test_compiled_flex_sees_the_same(tmp_path: Path) -> None:
    """In a process and with a cache of its own: torch's kernel for CPUs is kept for any number of threads, but has
    buffers for as many as there were when it was compiled, and writes beyond them with more."""
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", COMPILED], check=True, env=environment)


def test_half_precision_stays_near() -> None:
    q, k, v = heads(200)
    expected = windowed_attention(q, k, v, (20, 30))
    for dtype in (torch.bfloat16, torch.float16):
        out = windowed_attention(q.to(dtype), k.to(dtype), v.to(dtype), (20, 30), torch.tensor([200, 3]))
        assert out.dtype == dtype
        assert out.isfinite().all()
        torch.testing.assert_close(out[0].float(), expected[0], atol=0.03, rtol=0)


def test_what_cannot_be_is_refused() -> None:
    q, k, v = heads(20)
    with pytest.raises(ValueError, match="known are auto, sdpa, flex, flash"):
        windowed_attention(q, k, v, (3, 3), backend="triton")
    with pytest.raises(ValueError, match="neither negative"):
        windowed_attention(q, k, v, (-1, 3))
    with pytest.raises(ValueError, match=r"k, v \[B, H, S, E\]"):
        windowed_attention(q, k, v[:, :, :10], (3, 3))
    with pytest.raises(ValueError, match=r"5 \.\.\. 24 stand outside the 20 keys"):
        windowed_attention(q, k, v, (3, 3), first_query=5)
    with pytest.raises(ValueError, match="one an item"):
        windowed_attention(q, k, v, (3, 3), lengths=torch.tensor([20]))


@pytest.mark.skipif(HAS_FLASH, reason="flash-attn is installed")
def test_a_missing_flash_attn_names_the_extra() -> None:
    with pytest.raises(ImportError, match=r"latentune\[flash\]"):
        windowed_attention(*heads(20), (3, 3), backend="flash")


@pytest.mark.skipif(not HAS_CUDA, reason="needs a GPU")
@pytest.mark.parametrize("backend", ["auto", "sdpa", "flex"])
@pytest.mark.parametrize("window", WINDOWS)
def test_backends_agree_on_a_gpu(backend: str, window: tuple[int, int]) -> None:
    leaves = [t.requires_grad_() for t in heads(700)]
    expected = reference(*leaves, seen(700, 700, window))
    out = windowed_attention(*(t.cuda() for t in leaves), window, backend=backend).cpu()
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)
    ours, theirs = (torch.autograd.grad(t.square().sum(), leaves) for t in (out, expected))
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, atol=1e-4, rtol=0)


@pytest.mark.skipif(not (HAS_CUDA and HAS_FLASH), reason="needs a GPU and flash-attn")
@pytest.mark.parametrize("lengths", [None, torch.tensor([700, 300])])
def test_flash_agrees_on_a_gpu(lengths: Tensor | None) -> None:
    q, k, v = (t.cuda().half() for t in heads(700))
    on_gpu = None if lengths is None else lengths.cuda()
    out = windowed_attention(q, k, v, (63, 64), on_gpu, "flash").float()
    expected = windowed_attention(q.float(), k.float(), v.float(), (63, 64), on_gpu, "sdpa")
    for item, length in enumerate([700, 700] if lengths is None else lengths.tolist()):
        torch.testing.assert_close(out[item, :, :length], expected[item, :, :length], atol=2e-3, rtol=0)
