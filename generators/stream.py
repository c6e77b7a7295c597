"""The interface of a generator's stream: one block of latents or tokens after another, without an end.

Shape letters: B batch, T latent frames, D latent width, T' token frames, Q codebooks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from .base import SamplingConfig
from .conditions import Conditions


class GeneratorStream(ABC):
    """A generator at work on a stream. What is changed takes effect at the next block.

    Attributes:
        conditions: what is asked of each item.
        sampling: options, an instance of the generator's `sampling_class`.
    """

    conditions: Conditions
    sampling: SamplingConfig

    @property
    @abstractmethod
    def block_samples(self) -> int:
        """Audio samples of a block, at the codec's rate."""

    @abstractmethod
    def next_block(self, num_chunks: int | None = None) -> Tensor:
        """Returns the next latents [B, T, D] or tokens [B, T', Q].

        Args:
            num_chunks: chunks of the codec, where the last block is to be shorter; by default a whole block.

        Raises:
            ValueError: conditions that the generator does not have.
            TypeError: sampling options of another kind of generator.
        """
