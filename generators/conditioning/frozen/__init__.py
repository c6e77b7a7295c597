"""Frozen networks of others that turn the values of conditions into embeddings: text encoders and CLAP."""

from .base import FrozenEncoder
from .load import FROZEN, FrozenSource, load_frozen

__all__ = ["FROZEN", "FrozenEncoder", "FrozenSource", "load_frozen"]
