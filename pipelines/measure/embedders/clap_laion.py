"""CLAP's audio side on the network of the package laion-clap itself, in place of transformers' (embedder `clap`).

It computes what `clap` computes, with the original code: useful to check figures against papers that used the package.
Windows are fixed where the package crops longer audio at random. Shape letters: W windows, D embedding width.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch.nn.functional as F
from torch import Tensor, nn

from ....generators.conditioning.frozen.clap_laion import load_laion_tower
from .base import Embedder
from .clap import ClapEmbedder


class LaionClapEmbedder(ClapEmbedder):
    """48 kHz mono in, a unit vector (512-d) for each 10 s out, for `.pt` checkpoints without feature fusion."""

    name = "clap_laion"

    def __init__(self, network: nn.Module, dim: int, source: str):
        Embedder.__init__(self, network, dim, source)
        self.preprocessing = (
            f"mono 48 kHz, soxr HQ; 16-bit quantised; {self.long_audio}, shorter audio repeated whole times and padded "
            f"with zeros; laion-clap {version('laion-clap')}"
        )

    @classmethod
    def from_checkpoint(cls, source: str | Path) -> Self:
        """Loads a laion-clap `.pt` (local, or `owner/name/file.pt` on a hub).

        Raises:
            CheckpointError: missing, unreadable, with feature fusion, or keys that do not fit.
            MissingPackageError: laion-clap is not installed.
        """
        network: Any = load_laion_tower(source)
        return cls(network, dim=network.dim, source=str(source))

    def network_output(self, windows: Tensor) -> Tensor:
        return F.normalize(self.network(windows), dim=-1)
