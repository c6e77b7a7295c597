"""Attention: `attend` with mask specifications, over several backends."""

from .attend import Backend, attend
from .masks import Causal, ChunkCausal, Documents, KeyPadding, Mask, Pattern, SlidingWindow

__all__ = ["Backend", "Causal", "ChunkCausal", "Documents", "KeyPadding", "Mask", "Pattern", "SlidingWindow", "attend"]
