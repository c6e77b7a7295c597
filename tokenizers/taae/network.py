"""TAAE's encoder and decoder (arXiv 2411.19842): transformer blocks at a few rates, joined by strided convolutions.

Sequences are time-major. Shape letters: B batch, P patches (frames of the outermost stage), T latent frames, D latent
width, W width. With counts given, frames beyond an item's own never influence them: each item of a batch gives the same
result as alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...layers.attention import KeyPadding, Mask, SlidingWindow
from ..parts.principal import whitening_projection
from .blocks import FrameConv, FrameTransposedConv, Snake, TransformerBlock, frame_rotation
from .config import TAAEConfig
from .layer_stream import LayerStreams

START_DEVIATION = 0.8  # of z that `fit` gives: the levels of tanh(z) are then used about alike
FIT_ITEMS = 16  # that are encoded at once, which bounds the memory


def zero_beyond(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Returns x [B, T, W] with zeros beyond each item's `lengths` [B], as a convolution pads the item alone."""
    if lengths is None:
        return x
    beyond = torch.arange(x.shape[1], device=x.device) >= lengths.to(x.device)[:, None]
    return x.masked_fill(beyond[..., None], 0.0)


def _activation(config: TAAEConfig) -> nn.Module:
    return Snake(config.width) if config.use_snake else nn.Identity()


class Transformer(nn.Module):
    """The blocks of one rate."""

    def __init__(self, config: TAAEConfig, depth: int):
        super().__init__()
        self.config = config
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(depth))

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Maps [B, T, W] to [B, T, W]."""
        rotation = frame_rotation(self.config, 0, x.shape[1], x.device)
        window = SlidingWindow(*self.config.window)
        mask: Mask = window
        if lengths is not None:
            mask = KeyPadding.from_lengths(lengths.to(x.device), x.shape[1], window)
        for block in self.blocks:
            if self.config.gradient_checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, rotation, mask, use_reentrant=False)
            else:
                x = block(x, rotation, mask)
        return x


class EncoderStage(nn.Module):
    """Fewer frames, then the blocks of the new rate."""

    def __init__(self, config: TAAEConfig, depth: int, stride: int):
        super().__init__()
        self.stride = stride
        self.activation = _activation(config)
        self.down = (
            FrameConv(config.width, config.width, 2 * stride, stride, config.causal) if stride > 1 else nn.Identity()
        )
        self.transformer = Transformer(config, depth)

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Maps [B, T, W] to [B, T / stride, W]; also returns the lengths [B] at the new rate."""
        x = self.down(self.activation(zero_beyond(x, lengths)))
        lengths = None if lengths is None else lengths // self.stride
        return self.transformer(x, lengths), lengths

    def layers(self) -> Iterator[nn.Module]:
        """Yields the layers in the order in which frames pass them."""
        yield from (self.activation, self.down, *self.transformer.blocks)


class DecoderStage(nn.Module):
    """The blocks of a rate, then more frames."""

    def __init__(self, config: TAAEConfig, depth: int, stride: int):
        super().__init__()
        self.stride = stride
        self.transformer = Transformer(config, depth)
        self.activation = _activation(config)
        self.up = (
            FrameTransposedConv(config.width, config.width, stride, config.causal) if stride > 1 else nn.Identity()
        )

    def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Maps [B, T, W] to [B, T * stride, W]; also returns the lengths [B] at the new rate."""
        x = self.up(self.activation(zero_beyond(self.transformer(x, lengths), lengths)))
        return x, None if lengths is None else lengths * self.stride

    def layers(self) -> Iterator[nn.Module]:
        """Yields the layers in the order in which frames pass them."""
        yield from (*self.transformer.blocks, self.activation, self.up)


class Encoder(nn.Module):
    """Encoder from patches to the unbounded input of the bottleneck. Stages are ordered from the outermost to the
    innermost.
    """

    def __init__(self, config: TAAEConfig):
        super().__init__()
        self.in_width, self.stride, causal = config.patch_width, config.stride, config.causal
        self.conv_in = FrameConv(config.patch_width, config.width, config.outer_kernel, causal=causal)
        self.stages = nn.ModuleList(
            EncoderStage(config, depth, stride) for depth, stride in zip(config.depths, config.strides, strict=True)
        )
        self.activation_out = _activation(config)
        self.conv_out = FrameConv(config.width, config.latent_dim, config.inner_kernel, causal=causal)

    def forward(self, patches: Tensor, num_patches: Tensor | None = None) -> Tensor:
        """Maps patches [B, P, C * patch_samples] to z [B, T, D], T = P / stride.

        Args:
            patches: the audio.
            num_patches: [B] each item's own patches, a multiple of the stride. Latents beyond are meaningless.

        Raises:
            ValueError: patches of another width, or a number of them that is not a multiple of the stride.
        """
        _check_frames("patches", patches, self.in_width, self.stride, num_patches)
        latents: Tensor = self.conv_out(self._features(patches, num_patches))
        return latents

    def _features(self, patches: Tensor, num_patches: Tensor | None) -> Tensor:
        """The input [B, T, W] of the last convolution."""
        x, lengths = self.conv_in(zero_beyond(patches, num_patches)), num_patches
        for stage in self.stages:
            x, lengths = stage(x, lengths)
        features: Tensor = self.activation_out(zero_beyond(x, lengths))
        return features

    @torch.no_grad()
    def fit(self, patches: Tensor) -> None:
        """Makes z the first principal components of each frame's features, of mean 0 and `START_DEVIATION`."""
        features = torch.cat([self._features(part, None).float().flatten(0, 1) for part in patches.split(FIT_ITEMS)])
        projection = whitening_projection(features, len(self.conv_out.weight), START_DEVIATION).float()
        assert self.conv_out.bias is not None
        self.conv_out.weight.zero_()
        self.conv_out.weight[:, :, self.conv_out.before] = projection.mT  # the frame itself, not its neighbors
        self.conv_out.bias.copy_(-features.mean(0) @ projection)

    def stream(self, batch: int) -> LayerStreams:
        """Returns the encoder's state for a stream of `batch` items: push patches, get z of complete frames."""
        inner = (layer for stage in self.stages for layer in cast(EncoderStage, stage).layers())
        return LayerStreams([self.conv_in, *inner, self.activation_out, self.conv_out], batch, self.in_width)


class Decoder(nn.Module):
    """Decoder from values of the bottleneck to patches. Stages are ordered from the innermost to the outermost."""

    def __init__(self, config: TAAEConfig):
        super().__init__()
        self.in_width, causal = config.latent_dim, config.causal
        self.conv_in = FrameConv(config.latent_dim, config.width, config.inner_kernel, causal=causal)
        sizes = zip(config.depths, config.strides, strict=True)
        self.stages = nn.ModuleList(DecoderStage(config, depth, stride) for depth, stride in reversed(list(sizes)))
        self.activation_out = _activation(config)
        self.conv_out = FrameConv(config.width, config.patch_width, config.outer_kernel, causal=causal, bias=False)
        self.clip = nn.Tanh() if config.soft_clip else nn.Identity()

    def forward(self, values: Tensor, num_latents: Tensor | None = None) -> Tensor:
        """Maps values [B, T, D] in [-1, 1] to patches [B, T * stride, C * patch_samples].

        Args:
            values: of the bottleneck.
            num_latents: [B] each item's own latent frames. Patches beyond are meaningless.

        Raises:
            ValueError: values of another width.
        """
        _check_frames("values", values, self.in_width, 1, num_latents)
        x, lengths = self.conv_in(zero_beyond(values, num_latents)), num_latents
        for stage in self.stages:
            x, lengths = stage(x, lengths)
        patches: Tensor = self.clip(self.conv_out(self.activation_out(zero_beyond(x, lengths))))
        return patches

    def stream(self, batch: int) -> LayerStreams:
        """Returns the decoder's state for a stream of `batch` items: push values, get the patches that became ready."""
        inner = (layer for stage in self.stages for layer in cast(DecoderStage, stage).layers())
        return LayerStreams([self.conv_in, *inner, self.activation_out, self.conv_out, self.clip], batch, self.in_width)


def _check_frames(name: str, x: Tensor, width: int, stride: int, lengths: Tensor | None) -> None:
    if x.ndim != 3 or x.shape[2] != width or x.shape[1] < 1:
        raise ValueError(f"{name} must be [batch, frames, {width}] with at least 1 frame, got {tuple(x.shape)}")
    if x.shape[1] % stride:
        raise ValueError(f"{x.shape[1]} {name} are not a multiple of the stride {stride}: pad the audio to whole hops")
    if lengths is not None:
        if lengths.shape != x.shape[:1]:
            raise ValueError(f"the counts of {name} must be [{len(x)}], one per item, got {tuple(lengths.shape)}")
        if bool((lengths < 1).any() | (lengths > x.shape[1]).any() | (lengths % stride).any()):
            raise ValueError(
                f"the counts of {name} must be multiples of {stride} in 1 ... {x.shape[1]}, got {lengths.tolist()}"
            )
