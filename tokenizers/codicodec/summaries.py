"""The two streams of CoDiCodec, and the values that they stand for: the summaries of a chunk, an unordered set.

Shape letters in addition to those of `AudioTokenizer`: M chunks, K chunks of an item, d FSQ dimensions.
"""

from __future__ import annotations

from torch import Tensor

from ...layers import fsq
from ..base import TokenizerSpec
from ..inputs import check_latents, check_tokens
from ..parts.pieces import PieceTokenizer
from .config import CoDiCodecConfig


class SummaryTokenizer(PieceTokenizer):
    """A codec of chunks, each a set of summaries in [-1, 1], regrouped into `latents_per_chunk` frames."""

    settings: CoDiCodecConfig

    @property
    def spec(self) -> TokenizerSpec:
        c = self.settings
        return TokenizerSpec(
            name="codicodec",
            sample_rate=c.sample_rate,
            channels=c.channels,
            hop_samples=c.chunk_samples // c.latents_per_chunk,
            latent_dim=c.num_summaries // c.latents_per_chunk * len(c.levels),
            levels=(c.levels,),
            token_hop_samples=c.chunk_samples // c.num_summaries,
            chunk_latents=c.latents_per_chunk,
            chunk_tokens=c.num_summaries,
            overlap_samples=-c.stft_hop_samples if c.edge_padding else c.stft_hop_samples,
        )

    def values_to_latents(self, values: Tensor) -> Tensor:
        """Returns latents [M, latents_per_chunk, D] of values [M, summaries, d] in [-1, 1]."""
        frames = self.settings.latents_per_chunk
        return fsq.values_to_latents(values, self.settings.latent_scale).reshape(len(values), frames, -1)

    def latents_to_values(self, latents: Tensor) -> Tensor:
        """Returns the values of each chunk, [B, K, summaries, d], of latents [B, T, D]."""
        check_latents(self.spec, latents)
        values = fsq.latents_to_values(latents.float(), self.settings.latent_scale)
        return values.reshape(len(latents), -1, self.settings.num_summaries, len(self.settings.levels))

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns the quantised values of each chunk, [B, K, summaries, d], of tokens [B, T', 1]."""
        check_tokens(self.spec, tokens)
        digits = fsq.indices_to_digits(tokens[..., 0], self.settings.levels)
        values = fsq.digits_to_values(digits, self.settings.levels)
        return values.reshape(len(tokens), -1, self.settings.num_summaries, len(self.settings.levels))

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns the nearest tokens [...] of values [..., d]."""
        levels = self.settings.levels
        return fsq.digits_to_indices(fsq.values_to_digits(values.float(), levels), levels)

    def tokens_to_latents(self, tokens: Tensor) -> Tensor:
        values = self.tokens_to_values(tokens)
        return self.values_to_latents(values.flatten(0, 1)).reshape(len(tokens), -1, self.spec.latent_dim)

    def latents_to_tokens(self, latents: Tensor) -> Tensor:
        return self.values_to_tokens(self.latents_to_values(latents)).flatten(1).unsqueeze(-1)

    def bound(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Returns z [..., d] bounded in level units, and the level units that are 1."""
        levels = self.settings.levels
        bounded = fsq.bound(z.float(), levels, self.settings.fsq_eps)
        return bounded, fsq.half_widths(levels, bounded)
