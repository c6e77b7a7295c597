"""TAAE's layers on a stream: equal to the whole signal for any pieces, with bounded state and a known latency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentune.tokenizers.taae.config import TAAEConfig
from latentune.tokenizers.taae.layer_stream import LayerStreams
from latentune.tokenizers.taae.network import Decoder, Encoder

TINY = replace(TAAEConfig.tiny(), layer_scale_init=0.5)
VARIANTS = {
    "released": TINY,
    "causal": replace(TINY, causal=True, window=(7, 0)),
    "three stages": replace(TINY, depths=(1, 1, 1), strides=(1, 3, 2), use_snake=True, soft_clip=True),
    "three stages, causal": replace(TINY, depths=(1, 1, 1), strides=(1, 3, 2), causal=True, window=(3, 0)),
    "one-sided window": replace(TINY, window=(0, 9)),
}


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def pieces(x: Tensor, sizes: list[int]) -> Iterator[Tensor]:
    """x in pieces of these sizes, over and over."""
    start = turn = 0
    while start < x.shape[1]:
        yield x[:, start : start + sizes[turn % len(sizes)]]
        start, turn = start + sizes[turn % len(sizes)], turn + 1


def streamed(stream: LayerStreams, x: Tensor, sizes: list[int]) -> Tensor:
    parts = [*(stream.push(piece) for piece in pieces(x, sizes)), stream.flush()]
    return torch.cat([part for part in parts if part is not None], dim=1)


@pytest.mark.parametrize("sizes", [[1], [3], [5, 1, 0, 17], [1000]])
@pytest.mark.parametrize("name", VARIANTS)
@torch.no_grad()
def test_a_stream_gives_what_the_whole_signal_gives(name: str, sizes: list[int]) -> None:
    config = VARIANTS[name]
    torch.manual_seed(0)
    for network, width, frames in (
        (Encoder(config), config.patch_width, 30 * config.stride),
        (Decoder(config), config.latent_dim, 30),
        (Encoder(config), config.patch_width, config.stride),  # shorter than any window
        (Decoder(config), config.latent_dim, 1),
    ):
        x = noise(2, frames, width).tanh()
        torch.testing.assert_close(streamed(network.stream(2), x, sizes), network(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [name for name in VARIANTS if "causal" in name])
@torch.no_grad()
def test_a_causal_stream_holds_no_whole_frame_back(name: str) -> None:
    config = VARIANTS[name]
    encoder, decoder = Encoder(config).stream(1), Decoder(config).stream(1)
    for frame in range(20):
        for _ in range(config.stride - 1):
            assert encoder.push(noise(1, 1, config.patch_width)) is None
        z = encoder.push(noise(1, 1, config.patch_width))
        assert z is not None, frame
        assert z.shape == (1, 1, config.latent_dim)
        patches = decoder.push(z.tanh())
        assert patches is not None, frame
        assert patches.shape == (1, config.stride, config.patch_width)
    assert encoder.flush() is None
    assert decoder.flush() is None


def held_numbers(state: Any) -> int:
    """Elements of all tensors that a stream keeps alive, views with the whole of their storage."""
    storages: dict[int, int] = {}

    def visit(value: Any) -> None:
        if isinstance(value, Tensor):
            storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes() // value.element_size()
        elif isinstance(value, (list, tuple)):
            for part in value:
                visit(part)

    for stream in state.streams:
        for value in vars(stream).values():
            visit(value)
    return sum(storages.values())


@pytest.mark.parametrize("name", ["released", "causal"])
@torch.no_grad()
def test_state_does_not_grow(name: str) -> None:
    config = VARIANTS[name]
    encoder, decoder = Encoder(config).stream(1), Decoder(config).stream(1)
    sizes = []
    for turn in range(40):
        z = encoder.push(noise(1, 10, config.patch_width))
        if z is not None:
            decoder.push(z.tanh())
        if turn >= 15:  # every layer has filled its window
            sizes.append(held_numbers(encoder) + held_numbers(decoder))
    assert max(sizes[-10:]) <= max(sizes[:10])


def test_wrong_use_is_refused() -> None:
    encoder = Encoder(TINY)
    stream = encoder.stream(2)
    with pytest.raises(ValueError, match=r"push \[2, frames, 20\]"):
        stream.push(noise(1, 4, TINY.patch_width))
    with pytest.raises(ValueError, match=r"push \[2, frames, 20\]"):
        stream.push(noise(2, 4, 3))
    stream.push(noise(2, 5, TINY.patch_width))
    with pytest.raises(ValueError, match="ended inside a latent frame: push a multiple of 2"):
        stream.flush()
    with pytest.raises(ValueError, match="has ended"):
        stream.push(noise(2, 4, TINY.patch_width))


def test_an_empty_stream_gives_nothing() -> None:
    assert Encoder(TINY).stream(1).flush() is None
    stream = Decoder(TINY).stream(1)
    assert stream.push(noise(1, 0, TINY.latent_dim)) is None
    assert stream.flush() is None
