"""Residual codebooks in place of FSQ: the layout of tokens that FSQ is compared with (arXiv 2509.09550, section 4).

The coded vectors are the bounded values of a codec, so that they cannot drift away from their entries and no loss term
has to hold them. Released codecs of this package do not have them. Shape letters: B batch, T frames, D width of the
values, Q codebooks, S entries per codebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from ...layers.residual import nearest_entries, sum_of_entries

LIMIT = 1 - 2**-12  # values are within (-1, 1): latents are their atanh
FIT_PASSES = 5  # of the moving averages over all vectors of `fit`, after k-means has placed the entries


@dataclass(frozen=True, kw_only=True)
class ResidualConfig:
    """Codebooks, and how they follow the vectors in training."""

    num_codebooks: int = 2  # with 256 entries: 16 bits per frame, as eight digits of four levels have
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


class ResidualCodebooks(nn.Module):
    """Values [..., D] to tokens [..., Q] and back, with codebooks that follow the values in training.

    The codebooks start from k-means on the first values that they see in training, or on those of `fit`; before that
    there is only one token.
    """

    def __init__(self, config: ResidualConfig, width: int):
        from vector_quantize_pytorch import ResidualVQ

        super().__init__()
        self.stages = ResidualVQ(
            dim=width,
            num_quantizers=config.num_codebooks,
            codebook_size=config.codebook_size,
            decay=config.decay,
            threshold_ema_dead_code=config.dead_below,
            kmeans_init=True,
        )

    @property
    def codebooks(self) -> Tensor:
        """[Q, S, D] float32."""
        return cast(Tensor, self.stages.codebooks)

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Entries of each codebook, as in `TokenizerSpec.levels`; their order has no meaning."""
        num_codebooks, size, _ = self.codebooks.shape
        return ((size,),) * num_codebooks

    @torch.no_grad()
    def fit(self, values: Tensor) -> None:
        """Places the entries among values [M, D], before the first training step."""
        training = self.training
        self.train()
        for _ in range(FIT_PASSES):
            self.stages(values[None].float())
        self.train(training)

    def straight_through(self, values: Tensor) -> Tensor:
        """Returns values [B, T, D] as sums of their entries; the gradient passes as if they were not coded."""
        coded: Tensor
        if self.training:  # this moves the codebooks as well; its own gradient counts every codebook
            coded, _, _ = self.stages(values)
        else:
            coded = self.tokens_to_values(self.values_to_tokens(values))
        return values + (coded - values).detach()

    def values_to_tokens(self, values: Tensor) -> Tensor:
        """Returns tokens [..., Q] of values [..., D]: in each stage the entry nearest to the remainder."""
        return nearest_entries(values, self.codebooks)

    def tokens_to_values(self, tokens: Tensor) -> Tensor:
        """Returns values [..., D] of tokens [..., Q], which may lie a little beyond the range of an encoder."""
        return sum_of_entries(tokens, self.codebooks).clamp(-LIMIT, LIMIT)
