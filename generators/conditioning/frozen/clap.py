"""CLAP's joint space: texts and recordings as unit vectors that can be compared (arXiv 2211.06687).

Shape letters: C audio channels, N samples, E embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ....core.errors import CheckpointError
from ....layers.audio import check_audio, to_channels, to_rate
from .base import FrozenEncoder, check_texts
from .clap_audio import SAMPLE_RATE, cut_windows, embed_windows, load_audio_tower
from .clap_text import ClapTextEncoder

BATCH = 16  # windows that are embedded at once

Backend = Literal["transformers", "laion-clap"]


class ClapEncoder(FrozenEncoder):
    """One unit vector [1, E] for a text or a recording; a recording's is the mean over its windows of 10 s."""

    takes_audio: ClassVar[bool] = True

    def __init__(self, text: ClapTextEncoder, audio_network: Any, backend: Backend = "transformers"):
        super().__init__([text.network, audio_network], text.dim)
        self.text, self.audio_network, self.backend = text, audio_network, backend

    @classmethod
    def from_checkpoint(
        cls, source: str | Path, *, tokenizer: str | None = None, backend: Backend = "transformers"
    ) -> Self:
        """Loads both towers.

        Args:
            source: a laion-clap `.pt` (local, or `owner/name/file.pt` on a hub), or a folder or hub id of transformers.
            tokenizer: of the text tower: a folder, hub id or `tokenizer.json`; by default as
                `ClapTextEncoder.from_checkpoint` says.
            backend: whose network hears: transformers', or the package laion-clap's, which takes `.pt` files alone.

        Returns:
            The encoder, in eval mode.

        Raises:
            CheckpointError: missing, unreadable, or towers that do not belong together.
            MissingPackageError: the backend is not installed.
        """
        from .clap_laion import load_laion_tower

        network: Any = load_audio_tower(source) if backend == "transformers" else load_laion_tower(source)
        text = ClapTextEncoder.from_checkpoint(source, tokenizer)
        dim = network.config.projection_dim if backend == "transformers" else network.dim
        if dim != text.dim:
            raise CheckpointError(f"{source} has embeddings of {text.dim} of a text and {dim} of audio: not one space")
        return cls(text, network, backend)

    def embed(self, values: Sequence[Any]) -> list[Tensor]:
        """Returns unit vectors [1, E] of texts and recordings, a recording being (audio [C, N], sample rate in Hz)."""
        texts = [place for place, value in enumerate(values) if not is_audio(value)]
        found: list[Tensor] = [torch.empty(0)] * len(values)
        if texts:
            embedded = self.text.embed(check_texts([values[place] for place in texts]))
            for place, vector in zip(texts, embedded, strict=True):
                found[place] = vector[None]
        for place, value in enumerate(values):
            if is_audio(value):
                found[place] = self._embed_audio(*value)
        return found

    def _embed_audio(self, audio: Tensor, sample_rate: int) -> Tensor:
        check_audio(audio[None])
        windows = cut_windows(to_rate(to_channels(audio, 1), sample_rate, SAMPLE_RATE)[0])
        with torch.no_grad():
            found = torch.cat([self._hear(some.to(self.device)).float().cpu() for some in windows.split(BATCH)])
        return F.normalize(found.mean(0, keepdim=True), dim=-1)

    def _hear(self, windows: Tensor) -> Tensor:
        if self.backend == "transformers":
            return embed_windows(self.audio_network, windows)
        return F.normalize(self.audio_network(windows), dim=-1)


def is_audio(value: Any) -> bool:
    """Returns whether a value is a recording, (audio [C, N], sample rate in Hz)."""
    return isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], Tensor) and value[0].ndim == 2
