"""A training batch of a generator.

Shape letters: B batch, T latent frames, D latent width, T' token frames, Q codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .conditions import Conditions, PreparedConditions


@dataclass(kw_only=True)
class LatentBatch:
    """A training batch out of a shard dataset. Either stream may be absent; masks are True where an item is real."""

    latents: Tensor | None  # [B, T, D], as the codec gives them (not normalised)
    latent_mask: Tensor | None  # [B, T] bool
    tokens: Tensor | None  # [B, T', Q] int64
    token_mask: Tensor | None  # [B, T'] bool
    conditions: Conditions | PreparedConditions
    ids: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> LatentBatch:
        """Returns the same batch with its tensors on `device`."""

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=True)

        return LatentBatch(
            latents=move(self.latents),
            latent_mask=move(self.latent_mask),
            tokens=move(self.tokens),
            token_mask=move(self.token_mask),
            conditions=self.conditions.to(device),
            ids=self.ids,
        )
