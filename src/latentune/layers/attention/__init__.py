"""Attention: `attend` with mask specifications, over several backends."""

from .attend import Backend, attend
from .masks import Causal, ChunkCausal, KeyPadding, Mask, Pattern, SlidingWindow

__all__ = ["Backend", "Causal", "ChunkCausal", "KeyPadding", "Mask", "Pattern", "SlidingWindow", "attend"]
