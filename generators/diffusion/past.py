"""The past that the frames of a chunk-causal transformer see, in training and in sampling.

A block is a number of chunks of the codec that are denoised together. Its frames see each other, whatever their noise,
and the clean frames of earlier blocks. Shape letters: B batch, T latent frames, D latent width.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...layers.attention import ChunkCausal, KeyPadding, Mask
from ...layers.cache import KVCache
from .frame_times import FrameTimes

if TYPE_CHECKING:
    from .config import DiffusionTransformerConfig


@dataclass(frozen=True, kw_only=True)
class Past:
    """The frames before each block, for training: those of the items themselves, all blocks of an item at once.

    As in block diffusion (Arriola et al., arXiv 2503.09573, section 5.1), the network reads the items twice in one
    sequence, clean and noisy; the noisy frames of a block see the clean ones of earlier blocks and each other.
    """

    latents: Tensor  # [B, T, D] normalised, with the noise of `t`
    t: FrameTimes  # of the frames, 0 where they are clean


class EarlierKeys(Protocol):
    """Keys and values of earlier frames in one layer."""

    def followed_by(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns keys and values [B, H, S + T, E], at their end those of T more frames."""
        ...


class StoredKeys(NamedTuple):
    """A cache to which the keys and values that follow are added."""

    cache: KVCache

    def followed_by(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Adds keys and values [B, H, T, E]; returns all."""
        self.cache.append(k, v)
        return self.cache.keys, self.cache.values


@dataclass(frozen=True, kw_only=True)
class View:
    """The keys and values that frames see in the self-attention of one layer."""

    mask: Mask | None = None  # None: all that there is
    bias: Tensor | tuple[Tensor, ...] | None = None  # added to the scores; several: one for each packed item
    earlier: EarlierKeys | None = None

    def bias_as(self, dtype: torch.dtype) -> Tensor | tuple[Tensor, ...] | None:
        """Returns the bias in the dtype of the keys."""
        if self.bias is None or isinstance(self.bias, Tensor):
            return None if self.bias is None else self.bias.to(dtype)
        return tuple(bias.to(dtype) for bias in self.bias)

    def keys_and_values(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what is attended to, of the frames' own keys and values [B, H, T, E]."""
        return (k, v) if self.earlier is None else self.earlier.followed_by(k, v)


class EarlierFrames(Protocol):
    """The frames of finished blocks, as the next block sees them."""

    @property
    def position(self) -> int | Tensor:
        """Number of the first frame of the next block, perhaps as a tensor [1]."""
        ...

    def views(self, mask: Tensor | None, store: bool) -> list[View]:
        """Returns what frames with a mask [B, T] see, one view per layer; `store` adds them to what is kept."""
        ...


class FrameCache:
    """Keys and values of all layers for the frames of finished blocks, in constant memory: a window that moves on.

    Args:
        config: of the transformer.
        batch: B, the items of all branches of guidance together.
        dtype: of the transformer's weights.
        device: of the transformer.
    """

    def __init__(self, config: DiffusionTransformerConfig, batch: int, dtype: torch.dtype, device: torch.device):
        self.window = config.window_blocks * config.block_frames
        self.batch = batch
        # with twice the room, the window is copied to the start of its buffer only now and then
        capacity = 2 * self.window + config.block_frames
        head_dim = config.width // config.heads
        self.layers = [
            KVCache(batch, config.heads, head_dim, capacity, dtype=dtype, device=device) for _ in range(config.depth)
        ]

    @property
    def position(self) -> int:
        """Frames since the start, forgotten ones included."""
        return self.layers[0].end_position

    def __len__(self) -> int:
        return len(self.layers[0])

    def move_on(self) -> None:
        """Forgets the frames that the next block does not see."""
        for layer in self.layers:
            layer.drop_before(self.position - self.window)

    def views(self, mask: Tensor | None, store: bool) -> list[View]:
        """Returns what frames see; see `EarlierFrames`."""
        padding = None
        if mask is not None:
            padding = KeyPadding(F.pad(mask, (len(self), 0), value=True))
        return [View(mask=padding, earlier=StoredKeys(layer) if store else layer) for layer in self.layers]


def chunk_pattern(config: DiffusionTransformerConfig) -> ChunkCausal | None:
    """Returns which frames see each other where no past is handed in; None: all."""
    return ChunkCausal(config.block_frames, config.window_blocks) if config.attention == "chunk_causal" else None


def plain_view(config: DiffusionTransformerConfig, mask: Tensor | None) -> View:
    """Returns what the frames of whole items see, where no past is handed in: chunk-causal ones also see the noise of
    earlier blocks.

    Args:
        config: of the transformer.
        mask: [B, T] bool, True where a frame is real; None: all are.
    """
    pattern = chunk_pattern(config)
    return View(mask=pattern if mask is None else KeyPadding(mask, pattern))


def doubled_view(config: DiffusionTransformerConfig, mask: Tensor | None, like: Tensor) -> View:
    """Returns what the frames of a sequence see that holds T clean frames (`Past`) and the same T frames noisy.

    Args:
        config: of the transformer.
        mask: [B, T] bool, True where a frame is real; None: all are.
        like: [B, 2 T, W], of the dtype and device of the scores.
    """
    return View(
        mask=None if mask is None else KeyPadding(mask.repeat(1, 2)),
        bias=doubled_bias(config, like.shape[1] // 2, like),
    )


def doubled_bias(config: DiffusionTransformerConfig, num_frames: int, like: Tensor) -> Tensor:
    """Returns 0 where a frame sees another, else -inf: [2 T, 2 T], clean frames first.

    Args:
        config: of the transformer.
        num_frames: T.
        like: of the dtype and device of the scores.
    """
    return _doubled_bias(num_frames, config.block_frames, config.window_blocks, like.dtype, like.device)


@functools.lru_cache(maxsize=32)  # packed items have many lengths
@torch.inference_mode(False)
def _doubled_bias(num_frames: int, block: int, window: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    index = torch.arange(num_frames, device=device) // block
    back = index[:, None] - index  # blocks from the one that is seen to the one that sees
    before, same = (back > 0) & (back <= window), back == 0
    clean = torch.cat([before | same, torch.zeros_like(same)], 1)
    noisy = torch.cat([before, same], 1)
    seen = torch.cat([clean, noisy])
    return torch.zeros(seen.shape, dtype=dtype, device=device).masked_fill(~seen, -torch.inf)
