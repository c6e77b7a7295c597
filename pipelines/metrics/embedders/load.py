"""Name -> embedder. The only module that knows all of them."""

from __future__ import annotations

from pathlib import Path

import torch

from ....tokenizers.parts.config import nearest_hint
from ....tokenizers.parts.errors import ConfigError
from .base import Embedder

EMBEDDERS = ("musicnn", "clap")


def load_embedder(
    name: str = "auto", *, clap_checkpoint: str | Path | None = None, device: torch.device | str = "cpu"
) -> Embedder:
    """An embedder in eval mode.

    Args:
        name: `musicnn` (its weights ship with the library), `clap` (needs a checkpoint), or `auto`: CLAP where a
            checkpoint is given, else MusiCNN.
        clap_checkpoint: a laion-clap `.pt` file, a folder or hub id in transformers' format, or `owner/name/file.pt`.

    Raises:
        ConfigError: an unknown name, or a name and a checkpoint that do not go together.
        CheckpointError: a checkpoint that cannot be used.
    """
    if name == "auto":
        name = "musicnn" if clap_checkpoint is None else "clap"
    if name not in EMBEDDERS:
        raise ConfigError(f"no embedder {name!r}: {nearest_hint(name, EMBEDDERS)}")
    if name == "clap":
        if clap_checkpoint is None:
            raise ConfigError("the clap embedder ships no weights: give clap_checkpoint, a laion-clap .pt or a hub id")
        from .clap import ClapEmbedder

        return ClapEmbedder.from_checkpoint(clap_checkpoint).to(device)
    if clap_checkpoint is not None:
        raise ConfigError(f"clap_checkpoint is given, but the embedder is {name}: choose embedder clap or auto")
    from .musicnn import MusicnnEmbedder

    return MusicnnEmbedder.from_package().to(device)
