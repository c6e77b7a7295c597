"""TAAE, released as Stable Codec (arXiv 2411.19842): a transformer codec with an FSQ bottleneck."""

from .config import TAAEConfig
from .model import TAAE

__all__ = ["TAAE", "TAAEConfig"]
