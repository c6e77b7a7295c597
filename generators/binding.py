"""The codec that a generator belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from ..tokenizers.spec import TokenizerSpec


@dataclass(frozen=True, kw_only=True)
class TokenizerBinding:
    """The codec whose streams a generator was made for; part of every generator's config."""

    spec: TokenizerSpec
    fingerprint: str  # AudioTokenizer.fingerprint() of the codec that encoded the training data
    latent_mean: tuple[float, ...] = ()  # [D] of the training data, to normalise; empty: no latent stream
    latent_std: tuple[float, ...] = ()  # [D]
