"""The part of an item that is known before it is sampled. Shape letters: B batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..tokenizers.base import Encoded, TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class Given:
    """Encoded audio and which of its chunks stay: the request for a continuation, an inpainting or a loop.

    Raises:
        ValueError: a `keep` that is not a mask of chunks, or a noise level outside 0..1.
    """

    encoded: Encoded  # of 1 item, for all that are sampled, or of B
    keep: Tensor  # [1 or B, chunks] bool, True where the chunk is given; chunks beyond are not
    noise_level: float = 0.0  # how much noise the given chunks carry; 0: they come out as they are, 1: nothing is given

    def __post_init__(self) -> None:
        if self.keep.dtype != torch.bool or self.keep.ndim != 2:
            raise ValueError(
                f"keep must be bool [items, chunks], got {self.keep.dtype} of shape {tuple(self.keep.shape)}"
            )
        if not 0 <= self.noise_level <= 1:
            raise ValueError(f"noise_level must lie in 0..1, got {self.noise_level}")

    @classmethod
    def prefix(cls, encoded: Encoded, spec: TokenizerSpec) -> Given:
        """Returns the request to continue `encoded` audio: its chunks that hold nothing but real audio are given.

        Raises:
            ValueError: an item without such a chunk.
        """
        # a codec that pads the edges (overlap below zero) ends its chunks inside the audio all the same
        beyond = max(0, spec.overlap_samples)
        lengths = [int(length) for length in encoded.lengths_samples]
        least = spec.chunk_samples + beyond
        if min(lengths) < least:
            raise ValueError(
                f"audio of {min(lengths)} samples ({min(lengths) / spec.sample_rate:.2f} s) holds no whole chunk to "
                f"continue: at least {least} samples ({least / spec.sample_rate:.2f} s) are needed"
            )
        counts = torch.tensor([(length - beyond) // spec.chunk_samples for length in lengths])
        return cls(encoded=encoded, keep=torch.arange(int(counts.max())) < counts[:, None])
