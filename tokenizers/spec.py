"""Rates and sizes of a tokenizer's two streams.

Shape letters: T latent frames, D latent width, T' token frames, Q codebooks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..layers.bits import entry_bits

Stream = Literal["latents", "tokens"]
STREAMS: tuple[Stream, ...] = ("latents", "tokens")


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec:
    """Rates and sizes of a tokenizer's two streams: all that a dataset or a generator needs to know about it."""

    name: str  # codec family, such as "codicodec"
    sample_rate: int  # Hz, of the audio the codec works on
    channels: int  # audio channels the codec works on
    hop_samples: int  # audio samples per latent frame
    latent_dim: int  # D
    levels: tuple[tuple[int, ...], ...]  # per codebook, FSQ levels of each digit, least significant digit first
    token_hop_samples: int  # audio samples per token frame; need not be the hop of a latent frame
    chunk_latents: int = 1  # latent frames per chunk; a stream always holds whole chunks
    chunk_tokens: int = 1  # token frames per chunk
    overlap_samples: int = 0  # how far the last chunk's window reaches beyond its own hop

    def __post_init__(self) -> None:
        if self.chunk_latents * self.hop_samples != self.chunk_tokens * self.token_hop_samples:
            raise ValueError(
                f"a chunk of {self.chunk_latents} latents x {self.hop_samples} samples is not one of "
                f"{self.chunk_tokens} tokens x {self.token_hop_samples} samples"
            )

    @property
    def latent_rate_hz(self) -> float:
        return self.sample_rate / self.hop_samples

    @property
    def token_rate_hz(self) -> float:
        return self.sample_rate / self.token_hop_samples

    @property
    def chunk_samples(self) -> int:
        return self.chunk_latents * self.hop_samples

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(math.prod(levels) for levels in self.levels)

    @property
    def tokens_per_frame(self) -> int:
        """Q, the number of codebooks."""
        return len(self.levels)

    @property
    def bitrate_bps(self) -> float:
        """Bits per second that the token stream can carry at most, log2(size) per token (arXiv 2411.19842, eq. 5)."""
        return self.token_rate_hz * sum(math.log2(size) for size in self.codebook_sizes)

    @property
    def packed_bitrate_bps(self) -> float:
        """Bits per second of tokens packed in whole bits, ceil(log2(size)) per token: the rates that papers quote.

        400, 700, 1000 and 625 for the presets of Stable Codec, where `bitrate_bps` is 388, 697, 951 and 613.
        """
        return self.token_rate_hz * sum(map(entry_bits, self.codebook_sizes))

    def num_chunks(self, num_samples: int) -> int:
        """Returns the number of chunks that contain `num_samples` samples at `sample_rate`; at least one.

        Raises:
            ValueError: fewer than 1 sample.
        """
        if num_samples < 1:
            raise ValueError(f"audio of {num_samples} samples: at least 1 is needed")
        return max(1, math.ceil((num_samples - self.overlap_samples) / self.chunk_samples))

    def nearest_chunks(self, duration_s: float) -> int:
        """Returns the number of whole chunks whose hops are nearest to `duration_s` seconds; at least one."""
        return max(1, round(duration_s * self.sample_rate / self.chunk_samples))

    def max_samples(self, num_chunks: int) -> int:
        """Returns the largest number of samples that `num_chunks` chunks contain: the inverse of `num_chunks`."""
        return num_chunks * self.chunk_samples + self.overlap_samples

    def num_latents(self, num_samples: int) -> int:
        """Returns T, the latent frames that contain `num_samples` samples."""
        return self.num_chunks(num_samples) * self.chunk_latents

    def num_tokens(self, num_samples: int) -> int:
        """Returns T', the token frames that contain `num_samples` samples."""
        return self.num_chunks(num_samples) * self.chunk_tokens

    def resampled_length(self, num_samples: int, sample_rate: int) -> int:
        """Returns the samples at the codec's rate that `num_samples` samples at `sample_rate` become; at least one."""
        return max(1, round(num_samples * self.sample_rate / sample_rate))
