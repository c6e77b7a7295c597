"""The interface of a conditioner. Shape letters: B batch, S condition tokens, W conditioning width."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base import Conditions


@dataclass(kw_only=True)
class EncodedConditions:
    """Conditions as a generator consumes them."""

    global_vector: Tensor  # [B, W]
    tokens: Tensor  # [B, S, W]; S may be 0
    mask: Tensor | None = None  # [B, S] bool, True where a token is real; None: all are

    def __len__(self) -> int:
        return len(self.global_vector)

    def followed_by(self, other: EncodedConditions) -> EncodedConditions:
        """Both along the batch axis; they must have the same number of tokens."""
        masks = None
        if self.mask is not None or other.mask is not None:
            masks = torch.cat([self.full_mask(), other.full_mask()])
        return EncodedConditions(
            global_vector=torch.cat([self.global_vector, other.global_vector]),
            tokens=torch.cat([self.tokens, other.tokens]),
            mask=masks,
        )

    def full_mask(self) -> Tensor:
        """[B, S] bool, also where `mask` is None."""
        if self.mask is not None:
            return self.mask
        return torch.ones(self.tokens.shape[:2], dtype=torch.bool, device=self.tokens.device)


class Conditioner(nn.Module, ABC):
    """One kind of condition as a vector and, if it has parts, as tokens.

    What is dropped or not given becomes a learned null, the same for both. All parameters take part in every call,
    whatever is given, because DistributedDataParallel waits for the gradient of each.
    """

    num_tokens: int = 0  # S, at most

    @abstractmethod
    def forward(self, conditions: Conditions, drop_mask: Tensor) -> EncodedConditions:
        """Encode B conditions; those where `drop_mask` [B] bool is True as if not given."""

    @abstractmethod
    def refuse(self, conditions: Conditions) -> None:
        """Raise ValueError if a condition asks for something that does not exist, such as an unknown label."""


def vector_only(vector: Tensor) -> EncodedConditions:
    """A global vector [B, W] without tokens."""
    return EncodedConditions(global_vector=vector, tokens=vector.new_zeros(len(vector), 0, vector.shape[-1]))
