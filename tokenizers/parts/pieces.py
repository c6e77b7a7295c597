"""Codecs that decode an item in pieces, which bound the memory. Shape letters are those of `AudioTokenizer`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..base import AudioTokenizer
from ..inputs import finished_pieces, prepare_item, refuse_options


class PieceTokenizer(AudioTokenizer):
    """A codec whose decoder gives an item piece by piece."""

    def decode_pieces(
        self,
        *,
        latents: Tensor | None = None,
        tokens: Tensor | None = None,
        lengths_samples: Tensor | None = None,
        gain_db: Tensor | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Iterator[Tensor]:
        """Decodes one item to pieces of audio [C, n]; see `AudioTokenizer.decode_pieces`, and `decode` for options."""
        refuse_options(options, self.decode, f"{type(self).__name__}.decode_pieces")
        values, num_samples = prepare_item(self, latents, tokens, lengths_samples, gain_db)
        return finished_pieces(self.item_pieces(values, generator, **options), num_samples, gain_db)

    @abstractmethod
    def item_pieces(self, values: Tensor, generator: torch.Generator | None, **options: Any) -> Iterable[Tensor]:
        """Decodes the values of one item.

        Args:
            values: [1, chunks, ...].
            generator: source of randomness, for codecs whose decoder draws noise.
            options: those of `decode`.

        Returns:
            Audio [1, C, n] end to end, not clipped, decoded as it is asked for.

        Raises:
            ValueError: options that cannot be; raised at once.
        """
