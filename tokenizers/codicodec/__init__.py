"""CoDiCodec (arXiv 2509.09836): summary-embedding codec with a consistency decoder."""

from .config import CoDiCodecConfig
from .model import CoDiCodec

__all__ = ["CoDiCodec", "CoDiCodecConfig"]
