"""A residual vector quantiser in place of FSQ: the kind of codec that the paper compares NeuCodec's tokens with.

Released weights do not have one. Shape letters: B batch, T frames, V fused width, d dimensions of the quantiser, Q
codebooks, S entries per codebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from torch import Tensor

from ...layers.residual import nearest_entries, sum_of_entries
from .quantiser import Quantiser, QuantiserConfig

LIMIT = 1 - 2**-12  # values are within (-1, 1): latents are their atanh


@dataclass(frozen=True, kw_only=True)
class ResidualConfig:
    """Codebooks, and how they follow the vectors in training."""

    num_codebooks: int = 2  # with 256 entries: 16 bits per frame, as FSQ has
    codebook_size: int = 256
    decay: float = 0.95  # of the moving averages that are the entries (arXiv 1711.00937, appendix A)
    dead_below: float = 0.02  # an entry that stands for fewer vectors of a batch than this is replaced

    def __post_init__(self) -> None:
        if self.num_codebooks < 1 or self.codebook_size < 2:
            raise ValueError(
                f"residual codebooks: at least 1 of at least 2 entries, got {self.num_codebooks} of "
                f"{self.codebook_size}"
            )
        if not 0 < self.decay < 1 or self.dead_below < 0:
            raise ValueError(f"decay {self.decay} must be in 0..1, dead_below {self.dead_below} not below 0")


class ResidualQuantiser(Quantiser):
    """NeuCodec's projections and bounds around residual codebooks.

    The coded vectors are the bounded values, so that they cannot drift away from their entries and no loss term has to
    hold them. Codebooks start from k-means on the first batch of training; before that there is only one token.
    """

    def __init__(self, config: QuantiserConfig, residual: ResidualConfig, fused_width: int):
        from vector_quantize_pytorch import ResidualVQ

        super().__init__(config, fused_width)
        self.residual = ResidualVQ(
            dim=len(config.levels),
            num_quantizers=residual.num_codebooks,
            codebook_size=residual.codebook_size,
            decay=residual.decay,
            threshold_ema_dead_code=residual.dead_below,
            kmeans_init=True,
        )

    @property
    def codebooks(self) -> Tensor:
        """[Q, S, d] float32."""
        return cast(Tensor, self.residual.codebooks)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Entries of each codebook, as in `TokenizerSpec.levels`; their order has no meaning."""
        num_codebooks, size, _ = self.codebooks.shape
        return ((size,),) * num_codebooks

    def straight_through(self, values: Tensor) -> Tensor:
        """Returns values [B, T, d] as sums of their entries; the gradient passes as if they were not coded."""
        coded: Tensor
        if self.training:  # this moves the codebooks as well; its own gradient counts every codebook
            coded, _, _ = self.residual(values)
        else:
            coded = self.tokens_to_values(self.values_to_tokens(values))
        return values + (coded - values).detach()

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns tokens [..., Q] of values [..., d]."""
        return nearest_entries(values, self.codebooks)

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns values [..., d] of tokens [..., Q], which may lie a little beyond the range of an encoder."""
        return sum_of_entries(tokens, self.codebooks).clamp(-LIMIT, LIMIT)
