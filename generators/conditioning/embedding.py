"""Conditions whose values are the embeddings of a frozen encoder.

Shape letters: B batch, S embeddings of a value, E embedding width, W conditioning width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...layers.norm import RMSNorm
from ..conditions import is_given
from .base import Conditioner, Encoding, as_text, padded_length
from .frozen import FrozenSource, load_frozen
from .frozen.clap import is_audio

REMEMBERED = 4096  # texts whose embeddings are kept, so that one that comes again is not encoded again


class EmbeddingConditioner(Conditioner):
    """Projects embeddings to tokens of the conditioning width; their mean gives the vector.

    A value is a text, or stored embeddings [S, E] or [E]; some encoders also take audio. The encoder is loaded when a
    value needs it, and is not part of the model: its weights are neither trained nor saved.
    """

    takes_any_value: ClassVar[bool] = True
    frozen: FrozenSource

    def __init__(self, width: int, config: Any, *, dim: int, num_tokens: int):
        super().__init__(width, config)
        self.dim, self.num_tokens = dim, num_tokens
        self.norm = RMSNorm(dim)
        self.project = nn.Linear(dim, width)
        # like the vectors of other conditions, so that the null does not drown in what the norm makes unit size
        nn.init.normal_(self.project.weight, std=(dim * width) ** -0.5)
        nn.init.zeros_(self.project.bias)
        self.null = nn.Parameter(torch.randn(width) * width**-0.5)
        self.to_global = nn.Linear(width, width)
        self._remembered: dict[str, Tensor] = {}

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns `embeddings` [B, S, E] float32 and their mask [B, S]; S is a power of two up to `num_tokens`.

        Raises:
            ValueError: embeddings of another width, more than `num_tokens` of them, or audio that the encoder does not
                take.
            CheckpointError: a text or audio is given, and the encoder cannot be loaded.
        """
        found = self._embeddings(values)
        length = padded_length(max(len(embeddings) for embeddings in found), self.num_tokens)
        padded = torch.zeros(len(found), length, self.dim)
        for row, embeddings in zip(padded, found, strict=True):
            row[: len(embeddings)] = embeddings
        lengths = torch.tensor([len(embeddings) for embeddings in found])
        return {"embeddings": padded, "mask": torch.arange(length) < lengths[:, None]}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns tokens [B, S, W], their mask and vectors [B, W]; what is not given is one learned token."""
        mask = prepared["mask"]
        given = (mask.any(1) & ~drop)[:, None]
        tokens = self.project(self.norm(prepared["embeddings"].to(self.project.weight.dtype)))
        tokens = torch.where(given[..., None], tokens, self.null.to(tokens.dtype))
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        mask = torch.where(given, mask, first)
        mean = (tokens * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return Encoding(vector=self.to_global(mean.to(tokens.dtype)), cross=tokens, cross_mask=mask)

    def _embeddings(self, values: Sequence[Any]) -> list[Tensor]:
        """Returns [S, E] of each value, S being 0 where it is not given."""
        found: list[Tensor] = [torch.zeros(0, self.dim)] * len(values)
        unknown: dict[int, Any] = {}  # place -> what has to be encoded
        for place, value in enumerate(values):
            if isinstance(value, Tensor):
                found[place] = self._checked(value)
            elif is_audio(value):
                unknown[place] = value
            elif is_given(value):
                text = as_text(value)
                if text in self._remembered:
                    found[place] = self._remembered[text]
                else:
                    unknown[place] = text
        if unknown:
            encoder = load_frozen(self.frozen)
            if not encoder.takes_audio and any(map(is_audio, unknown.values())):
                raise ValueError(f"{self.frozen} takes no audio: give a text")
            for place, embeddings in zip(unknown, encoder.embed(list(unknown.values())), strict=True):
                found[place] = self._checked(embeddings)
                self._remember(unknown[place], found[place])
        return found

    def _checked(self, embeddings: Tensor) -> Tensor:
        rows = embeddings[None] if embeddings.ndim == 1 else embeddings
        if rows.ndim != 2 or rows.shape[1] != self.dim or not 0 < len(rows) <= self.num_tokens:
            raise ValueError(
                f"embeddings must be [1 to {self.num_tokens}, {self.dim}], got {tuple(embeddings.shape)}: are they of "
                f"{self.frozen}?"
            )
        return rows.float().cpu()

    def _remember(self, value: Any, embeddings: Tensor) -> None:
        if isinstance(value, str):
            if len(self._remembered) >= REMEMBERED:
                self._remembered.pop(next(iter(self._remembered)))
            self._remembered[value] = embeddings
