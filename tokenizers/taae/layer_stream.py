"""The network on a stream: every layer keeps the frames that its kernel or window still needs, and no more.

A causal layer returns a frame at once; another holds it back until its right context has arrived or the stream ends.
The outputs, joined, equal those of the layers for the whole signal. State is bounded by the windows and the largest
push, so that the same mechanism serves live streams and long signals in bounded memory.

Shape letters: B batch, T frames of a layer's own rate, W width, H heads, E features of a head.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from ...layers.attention import SlidingWindow
from ...layers.cache import KVCache
from .blocks import FrameConv, FrameTransposedConv, TransformerBlock, frame_rotation


class LayerStream(Protocol):
    """One layer's state. Frames are [B, T, W] with any T, also 0."""

    def push(self, x: Tensor) -> Tensor:
        """Takes the next frames; returns those that became ready."""
        ...

    def flush(self, x: Tensor) -> Tensor:
        """Takes the last frames and ends the stream; returns all that was held back."""
        ...


class LayerStreams:
    """A chain of layers on one stream of `batch` items."""

    def __init__(self, layers: Sequence[nn.Module], batch: int, in_width: int):
        self.batch, self.in_width = batch, in_width
        self.streams = [_layer_stream(layer) for layer in layers if not isinstance(layer, nn.Identity)]
        self.like: Tensor | None = None  # empty [B, 0, W] of the dtype and device of the first push
        self.ended = False

    @torch.no_grad()
    def push(self, frames: Tensor) -> Tensor | None:
        """Takes frames [B, n, W] of any n; returns the frames that became ready, or None.

        Raises:
            ValueError: another batch or width than the stream's, or a stream that was flushed.
        """
        if self.ended:
            raise ValueError("this stream has ended: open a new one")
        if frames.ndim != 3 or frames.shape[0] != self.batch or frames.shape[2] != self.in_width:
            raise ValueError(f"push [{self.batch}, frames, {self.in_width}] to this stream, got {tuple(frames.shape)}")
        self.like = frames[:, :0]
        for stream in self.streams:
            if not frames.shape[1]:
                return None
            frames = stream.push(frames)
        return frames if frames.shape[1] else None

    @torch.no_grad()
    def flush(self) -> Tensor | None:
        """Ends the stream; returns the frames that were still held back, or None.

        Raises:
            ValueError: the pushed frames are not a whole number of latent frames.
        """
        self.ended = True
        if self.like is None:
            return None
        frames = self.like
        for stream in self.streams:
            frames = stream.flush(frames)
        return frames if frames.shape[1] else None


def _layer_stream(layer: nn.Module) -> LayerStream:
    if isinstance(layer, FrameConv):
        return ConvStream(layer)
    if isinstance(layer, FrameTransposedConv):
        return TransposedConvStream(layer)
    if isinstance(layer, TransformerBlock):
        return BlockStream(layer)
    return PointwiseStream(layer)


class PointwiseStream:
    """A layer that processes each frame alone."""

    def __init__(self, layer: nn.Module):
        self.layer = layer

    def push(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out

    flush = push


class ConvStream:
    """Keeps the last kernel - stride input frames, and up to stride - 1 more that do not fill an output frame yet."""

    def __init__(self, conv: FrameConv):
        self.conv = conv
        self.held: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        if self.held is None:
            self.held = x.new_zeros(len(x), self.conv.before, x.shape[2])
        self.held = torch.cat((self.held, x), dim=1)
        kernel, stride = self.conv.kernel_size[0], self.conv.stride[0]
        count = (self.held.shape[1] - kernel) // stride + 1
        if count < 1:
            return x.new_empty(len(x), 0, self.conv.out_channels)
        ready = self.conv.without_padding(self.held[:, : (count - 1) * stride + kernel])
        self.held = self.held[:, count * stride :]
        return ready

    def flush(self, x: Tensor) -> Tensor:
        ready = self.push(torch.cat((x, x.new_zeros(len(x), self.conv.after, x.shape[2])), dim=1))
        assert self.held is not None
        stride = self.conv.stride[0]
        if (self.held.shape[1] - self.conv.kernel_size[0]) % stride:
            raise ValueError(f"the stream ended inside a latent frame: push a multiple of {stride} frames in all")
        return ready


class TransposedConvStream:
    """Keeps the last input frame, from which the next output frames are made as well."""

    def __init__(self, conv: FrameTransposedConv):
        self.conv = conv
        self.last: Tensor | None = None
        self.skip = conv.skip  # frames still to be left out at the start

    def push(self, x: Tensor) -> Tensor:
        if self.last is None:
            self.last = x.new_zeros(len(x), 1, x.shape[2])
        x = torch.cat((self.last, x), dim=1)
        self.last = x[:, -1:]
        stride = self.conv.stride[0]
        # frames of the kept input alone were returned before; those after the newest input need the next one
        ready = self.conv.in_full(x)[:, stride : stride * x.shape[1]]
        skipped = min(self.skip, ready.shape[1])
        self.skip -= skipped
        return ready[:, skipped:].contiguous()

    def flush(self, x: Tensor) -> Tensor:
        end = x.new_zeros(len(x), 1, x.shape[2])
        ready = self.push(torch.cat((x, end), dim=1))
        return ready[:, : ready.shape[1] - (self.conv.stride[0] - self.conv.skip)]


class BlockStream:
    """Keeps keys and values as far back as the window reaches, and the frames that wait for later keys."""

    def __init__(self, block: TransformerBlock):
        self.block = block
        self.window = SlidingWindow(*block.attention.config.window)
        self.given = 0  # frames returned
        self.waiting: tuple[Tensor, Tensor] | None = None  # residual [B, n, W] and queries [B, H, n, E], not yet given
        self.cache: KVCache | None = None  # of the frames that a waiting or a later query sees

    def push(self, x: Tensor) -> Tensor:
        cache = self._take(x)
        return self._give(cache, max(0, cache.end_position - self.window.after - self.given))

    def flush(self, x: Tensor) -> Tensor:
        cache = self._take(x)
        return self._give(cache, cache.end_position - self.given)

    def _take(self, x: Tensor) -> KVCache:
        first = 0 if self.cache is None else self.cache.end_position
        rotation = frame_rotation(self.block.attention.config, first, x.shape[1], x.device)
        q, k, v = self.block.project(x, rotation)
        if self.cache is None:
            batch, heads, count, head_dim = k.shape
            # room for two windows: short pushes seldom have to move what is kept
            capacity = 2 * (self.window.before + self.window.after + 1) + count
            self.cache = KVCache(batch, heads, head_dim, capacity, dtype=k.dtype, device=k.device)
        self.cache.reserve(k.shape[2])
        self.cache.append(k, v)
        waiting = self.waiting
        self.waiting = (x, q) if waiting is None else (torch.cat((waiting[0], x), 1), torch.cat((waiting[1], q), 2))
        return self.cache

    def _give(self, cache: KVCache, count: int) -> Tensor:
        assert self.waiting is not None
        x, q = self.waiting
        if count == 0:
            return x[:, :0]
        first_query = self.given - cache.first_position
        mixed = self.block.attention.mix(q[:, :, :count], cache.keys, cache.values, self.window, first_query)
        ready = self.block.join(x[:, :count], mixed)
        self.given += count
        self.waiting = x[:, count:], q[:, :, count:]
        cache.drop_before(self.given - self.window.before)
        return ready
