"""What a generator takes in and gives out. A generator knows of its codec only the `TokenizerSpec`.

Shape letters: B batch, T latent frames, D latent width, T' token frames, Q codebooks, N audio samples.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..core.configured import ConfiguredModel
from ..tokenizers.base import Encoded, TokenizerSpec


@dataclass(kw_only=True)
class Conditions:
    """What the user asks for, one entry an item. An empty text, a None label or a NaN time means: not given."""

    text: list[str]
    labels: list[str | None]
    seconds_start: Tensor  # [B] float, where in its recording the item starts
    seconds_total: Tensor  # [B] float, length of the whole recording

    def __len__(self) -> int:
        return len(self.text)

    @classmethod
    def of(
        cls,
        text: Sequence[str],
        seconds_total: float | Sequence[float],
        labels: Sequence[str | None] | None = None,
        seconds_start: float = 0.0,
    ) -> Conditions:
        """Conditions for sampling: whole recordings of `seconds_total` with one prompt each."""
        total = [seconds_total] * len(text) if isinstance(seconds_total, (int, float)) else list(seconds_total)
        if len(total) != len(text) or (labels is not None and len(labels) != len(text)):
            raise ValueError(f"{len(text)} prompts, but {len(total)} durations and {len(labels or text)} labels")
        return cls(
            text=list(text),
            labels=list(labels) if labels is not None else [None] * len(text),
            seconds_start=torch.full((len(text),), float(seconds_start)),
            seconds_total=torch.tensor(total, dtype=torch.float32),
        )


@dataclass(kw_only=True)
class LatentBatch:
    """A training batch out of a shard dataset. Either stream may be absent; masks are True where an item is real."""

    latents: Tensor | None  # [B, T, D], as the codec gives them (not normalised)
    latent_mask: Tensor | None  # [B, T] bool
    tokens: Tensor | None  # [B, T', Q] int64
    token_mask: Tensor | None  # [B, T'] bool
    conditions: Conditions
    ids: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> LatentBatch:
        """The same batch with its stream tensors on `device`."""

        def move(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.to(device, non_blocking=True)

        return LatentBatch(
            latents=move(self.latents),
            latent_mask=move(self.latent_mask),
            tokens=move(self.tokens),
            token_mask=move(self.token_mask),
            conditions=self.conditions,
            ids=self.ids,
        )


@dataclass(frozen=True, kw_only=True)
class TokenizerBinding:
    """Which codec's streams a generator was made for; part of every generator's config."""

    spec: TokenizerSpec
    fingerprint: str  # AudioTokenizer.fingerprint() of the codec that encoded the training data
    latent_mean: tuple[float, ...] = ()  # [D] of the training data, to normalise; empty: no latent stream
    latent_std: tuple[float, ...] = ()  # [D]


@dataclass(kw_only=True)
class Generated:
    """What a generator sampled: one of the two streams, ready for `AudioTokenizer.decode`."""

    latents: Tensor | None  # [B, T, D]
    tokens: Tensor | None  # [B, T', Q]
    lengths_samples: Tensor  # [B] int64 at the codec's rate


class LatentGenerator(ConfiguredModel):
    """A model that samples one stream of a codec. Its config has a field `binding: TokenizerBinding`."""

    stream: Literal["latents", "tokens"]

    @property
    def binding(self) -> TokenizerBinding:
        return self.settings.binding

    @abstractmethod
    def sample(
        self,
        conditions: Conditions,
        lengths_samples: Tensor,
        *,
        generator: torch.Generator | None = None,
        guidance_scale: float = 1.0,
        prefix: Encoded | None = None,
        callback: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Generated:
        """Sample one item for each condition.

        Args:
            lengths_samples: [B] length of each item in audio samples at the codec's rate, the prefix included.
            guidance_scale: classifier-free guidance; 1 is none.
            prefix: encoded audio (batch of 1 or B) that every item starts with; only whole chunks of it are kept.
            callback: called with (steps done, steps in all).
            options: of the kind of generator, such as `num_inference_steps` or `temperature`.
        """
