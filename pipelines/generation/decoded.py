"""The audio of what a generator sampled: of all items at once, or of one item piece by piece.

Shape letters: B batch, C audio channels, N audio samples, T latent frames, D latent width, T' token frames, Q
codebooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.random import draw_seed
from ...generators.base import Generated
from ...tokenizers.base import AudioTokenizer


@dataclass(kw_only=True)
class AudioOutput:
    """The result of a call: one item for each prompt and repetition, in that order."""

    audio: Tensor  # [B, C, N] in [-1, 1]; zeros beyond an item's own length; N = 0 after a call with decode=False
    sample_rate: int  # Hz
    lengths_samples: Tensor  # [B] int64
    prompts: list[str]  # one per item
    latents: Tensor | None = None  # [B, T, D], of a diffusion generator
    tokens: Tensor | None = None  # [B, T', Q], of a language generator
    decoding: Decoding | None = None  # of a call with decode=False

    def item(self, index: int) -> Tensor:
        """Returns the audio [C, n] of one item, cut to its own length."""
        if self.decoding is not None:
            return torch.cat(list(self.pieces(index)), -1)
        return self.audio[index, :, : int(self.lengths_samples[index])]

    def pieces(self, index: int) -> Iterator[Tensor]:
        """Returns the audio of one item in pieces [C, n], which after a call with decode=False are decoded one by one.

        The item is then never whole in memory, if its codec bounds that (`AudioTokenizer.decode_pieces`).
        """
        return iter([self.item(index)]) if self.decoding is None else self.decoding.pieces(index)


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoding:
    """The streams that a call sampled, and how they are decoded."""

    tokenizer: AudioTokenizer
    generated: Generated
    gain_db: Tensor | None  # [B], which decoding undoes
    seed: int  # of the decoder's noise
    options: Mapping[str, Any]  # of `tokenizer.decode`

    def output(self, prompts: list[str], *, whole: bool) -> AudioOutput:
        """Returns the result of a call, whose audio is decoded now if `whole`."""
        generated, spec = self.generated, self.tokenizer.spec
        return AudioOutput(
            audio=self.whole() if whole else torch.zeros(len(prompts), spec.channels, 0),
            sample_rate=spec.sample_rate,
            lengths_samples=generated.lengths_samples.cpu(),
            prompts=prompts,
            latents=generated.latents,
            tokens=generated.tokens,
            decoding=None if whole else self,
        )

    def whole(self) -> Tensor:
        """Returns the audio [B, C, N] of all items."""
        generated = self.generated
        audio = self.tokenizer.decode(
            latents=generated.latents if generated.tokens is None else None,
            tokens=generated.tokens,
            lengths_samples=generated.lengths_samples,
            gain_db=self.gain_db,
            generator=torch.Generator().manual_seed(self.seed),
            **self.options,
        )
        return audio.float().cpu()

    def pieces(self, index: int) -> Iterator[Tensor]:
        """Returns the audio of one item in pieces [C, n]: that of `whole`, up to the rounding of another batch size."""
        noise = torch.Generator().manual_seed(self.seed)
        for _ in range(index):  # in a batch, each item takes one seed from the generator
            draw_seed(noise)
        generated, row = self.generated, slice(index, index + 1)
        pieces = self.tokenizer.decode_pieces(
            latents=None if generated.latents is None or generated.tokens is not None else generated.latents[row],
            tokens=None if generated.tokens is None else generated.tokens[row],
            lengths_samples=generated.lengths_samples[row],
            gain_db=None if self.gain_db is None else self.gain_db[row],
            generator=noise,
            **self.options,
        )
        return (piece.float().cpu() for piece in pieces)
