"""The checked form of a call to `LatentGenerator.sample`: lengths in whole chunks, and how much of a prefix is kept.

Shape letters: B batch, T frames of a stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.config import nearest_hint
from ...tokenizers.base import Encoded, TokenizerSpec
from ..base import Conditions


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """What is to be sampled, per item."""

    lengths_samples: Tensor  # [B] int64 on the CPU, at the codec's rate
    num_chunks: tuple[int, ...]  # whole chunks of each item
    prefix_chunks: tuple[int, ...]  # leading chunks that are given; 0 without a prefix

    def __len__(self) -> int:
        return len(self.num_chunks)


def check_request(
    spec: TokenizerSpec,
    conditions: Conditions,
    lengths_samples: Tensor,
    guidance_scale: float,
    prefix: Encoded | None,
) -> SampleRequest:
    """Validate the arguments that every kind of generator takes.

    Raises:
        ValueError: no items, counts or lengths that do not fit, a length below 1, a prefix that holds no whole chunk
            or leaves nothing to sample, or a guidance scale that is negative or not finite.
        TypeError: lengths that are not integers.
    """
    if lengths_samples.is_floating_point() or lengths_samples.ndim != 1:
        raise TypeError(
            f"lengths_samples must be [B] integers, got {lengths_samples.dtype} of shape {tuple(lengths_samples.shape)}"
        )
    if not 0 < len(conditions) == len(lengths_samples):
        raise ValueError(f"{len(conditions)} conditions, but {len(lengths_samples)} lengths: give one for each item")
    if not (math.isfinite(guidance_scale) and guidance_scale >= 0):
        raise ValueError(f"guidance_scale must be 0 or more, got {guidance_scale}: 1 is no guidance")
    lengths = lengths_samples.detach().to("cpu", torch.int64)
    num_chunks = tuple(spec.num_chunks(int(n)) for n in lengths)
    prefix_chunks = (0,) * len(num_chunks) if prefix is None else _prefix_chunks(spec, prefix, num_chunks)
    return SampleRequest(lengths_samples=lengths, num_chunks=num_chunks, prefix_chunks=prefix_chunks)


def _prefix_chunks(spec: TokenizerSpec, prefix: Encoded, num_chunks: tuple[int, ...]) -> tuple[int, ...]:
    """Chunks of the prefix that hold nothing but real audio, for each item."""
    lengths = [int(n) for n in prefix.lengths_samples]
    if len(lengths) not in (1, len(num_chunks)):
        raise ValueError(f"a prefix of {len(lengths)} items for {len(num_chunks)} to sample: give 1 or one for each")
    if len(lengths) == 1:
        lengths = lengths * len(num_chunks)
    # a codec that pads the edges (overlap below zero) ends its chunks inside the audio all the same
    beyond = max(0, spec.overlap_samples)
    counts = tuple(max(0, n - beyond) // spec.chunk_samples for n in lengths)
    for count, length, wanted in zip(counts, lengths, num_chunks, strict=True):
        if count < 1:
            least = spec.chunk_samples + beyond
            raise ValueError(f"a prefix of {length} samples holds no whole chunk: at least {least} are needed")
        if count >= wanted:
            raise ValueError(f"a prefix of {count} chunks leaves nothing of {wanted} to sample: ask for a longer item")
    return counts


def prefix_frames(stream: Tensor, item: int, num_frames: int) -> Tensor:
    """The first `num_frames` frames of an item of a prefix stream [1 or B, T, ...].

    Raises:
        ValueError: the stream is shorter than its lengths say.
    """
    frames = stream[item if len(stream) > 1 else 0][:num_frames]
    if len(frames) < num_frames:
        raise ValueError(f"the prefix has {len(frames)} frames, but by its length it should have {num_frames}")
    return frames


def refuse_options(options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise TypeError for sampling options that this kind of generator does not have."""
    for name in options:
        raise TypeError(f"no sampling option {name!r}: {nearest_hint(name, known)}")
