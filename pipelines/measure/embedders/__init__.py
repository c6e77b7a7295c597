"""Networks that turn audio into embeddings, for Fréchet distances and the like; `EMBEDDERS` is their table."""

from .base import Embedder
from .cards import EMBEDDERS, EmbedderCard
from .load import load_embedder

__all__ = ["EMBEDDERS", "Embedder", "EmbedderCard", "load_embedder"]
