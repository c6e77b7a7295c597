"""Codecs whose two streams have the same frames, each frame on its own a vector of bounded values.

Shape letters: B batch, T frames, D latent width, Q codebooks, C audio channels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Protocol

import torch
from torch import Tensor

from ...layers import fsq
from ..inputs import check_latents, check_tokens
from .pieces import PieceTokenizer


class Codebooks(Protocol):
    """A quantiser of the values of a frame: FSQ or residual codebooks."""

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """As in `TokenizerSpec.levels`."""

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns exactly the values [B, T, D] that tokens [B, T, Q] stand for."""

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns the nearest tokens [B, T, Q] of values [B, T, D]."""


class FrameTokenizer(PieceTokenizer):
    """A codec whose latent is atanh(value) / `latent_scale` of its config, and whose tokens are those of `codebooks`.

    Its decoder draws no noise, and gives pieces of an item that do not depend on how many are asked for.
    """

    @property
    @abstractmethod
    def codebooks(self) -> Codebooks:
        """The quantiser."""

    def latents_to_values(self, latents: Tensor) -> Tensor:
        """Returns values [B, T, D] in (-1, 1), not rounded to levels, of latents [B, T, D]."""
        check_latents(self.spec, latents)
        return fsq.latents_to_values(latents.float(), self.settings.latent_scale)

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns exactly the values [B, T, D] that tokens [B, T, Q] stand for."""
        check_tokens(self.spec, tokens)
        return self.codebooks.tokens_to_values(tokens)

    def tokens_to_latents(self, tokens: Tensor) -> Tensor:
        return fsq.values_to_latents(self.tokens_to_values(tokens), self.settings.latent_scale)

    def latents_to_tokens(self, latents: Tensor) -> Tensor:
        return self.codebooks.values_to_tokens(self.latents_to_values(latents))

    def item_pieces(self, values: Tensor, generator: torch.Generator | None, **options: Any) -> Iterable[Tensor]:
        """Decodes values [1, T, D] in pieces; nothing is drawn from `generator`. See `PieceTokenizer.item_pieces`."""
        return self.value_pieces(values, **options)

    @abstractmethod
    def value_pieces(self, values: Tensor, *_: Any, **options: Any) -> Iterable[Tensor]:
        """Decodes the values of one item, or of several of one length, in pieces that bound the memory.

        Args:
            values: [B, T, D].
            options: those of `decode`.

        Returns:
            Audio [B, C, n] end to end, not clipped, decoded as it is asked for.

        Raises:
            ValueError: options that cannot be; raised at once.
        """
