"""Networks that turn audio into embeddings, for Fréchet distances."""

from .base import Embedder
from .load import EMBEDDERS, load_embedder

__all__ = ["EMBEDDERS", "Embedder", "load_embedder"]
