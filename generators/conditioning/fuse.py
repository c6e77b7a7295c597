"""All conditions of a generator in one module. Shape letters: B batch, S condition tokens, W width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..base import Conditions
from .base import Conditioner, EncodedConditions
from .labels import LabelConditioner
from .seconds import SecondsConditioner
from .text import ByteTextEncoder


@dataclass(frozen=True, kw_only=True)
class ConditioningConfig:
    """What a generator can be asked for. The defaults take text and times, and no labels."""

    width: int = 256  # W, of vectors and tokens
    text_layers: int = 2  # of the byte-level text encoder; 0: the generator takes no text
    text_heads: int = 4
    text_max_bytes: int = 256  # of UTF-8; longer texts are cut
    text_tokens: int = 8  # summary tokens per text
    labels: tuple[str, ...] = ()  # the table of class labels; empty: the generator takes none
    seconds: bool = True  # start of the item and length of the whole recording

    def __post_init__(self) -> None:
        if self.width < 1 or self.text_layers < 0:
            raise ValueError(f"width must be positive and text_layers 0 or more, got {self.width}, {self.text_layers}")
        if self.text_layers and (self.width % self.text_heads or self.width // self.text_heads % 2):
            raise ValueError(f"text_heads {self.text_heads} must divide width {self.width} into even parts")
        if self.text_layers and min(self.text_max_bytes, self.text_tokens) < 1:
            raise ValueError("text_max_bytes and text_tokens must be at least 1")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must differ from each other, got {', '.join(self.labels)}")


class ConditionEncoder(nn.Module):
    """The conditioners of a config: their vectors are added, their tokens set end to end."""

    def __init__(self, config: ConditioningConfig):
        super().__init__()
        self.config = config
        parts: dict[str, Conditioner] = {}
        if config.text_layers:
            parts["text"] = ByteTextEncoder(
                config.width, config.text_layers, config.text_heads, config.text_max_bytes, config.text_tokens
            )
        if config.labels:
            parts["labels"] = LabelConditioner(config.width, config.labels)
        if config.seconds:
            parts["seconds"] = SecondsConditioner(config.width)
        self.parts = nn.ModuleDict(parts)
        # a learned bias: gives the vector of a generator without any condition a device and a dtype, and a gradient
        self.bias = nn.Parameter(torch.zeros(config.width))

    @property
    def num_tokens(self) -> int:
        """S, how many tokens `forward` yields."""
        return sum(part.num_tokens for part in self._conditioners())

    def forward(self, conditions: Conditions, drop_mask: Tensor | None = None) -> EncodedConditions:
        """Encode B conditions on the device of the weights.

        Args:
            drop_mask: [B] bool, True where all of an item's conditions are replaced by the learned nulls, for
                classifier-free guidance (Ho and Salimans, arXiv 2207.12598).

        Raises:
            ValueError: an unknown label, a negative time, or lists of different lengths.
        """
        batch = len(conditions)
        sizes = {len(conditions.labels), len(conditions.seconds_start), len(conditions.seconds_total)}
        if sizes != {batch} or batch == 0:
            raise ValueError(f"conditions need one entry per item: {batch} texts, but {sorted(sizes)} labels and times")
        device = self.bias.device
        drop = torch.zeros(batch, dtype=torch.bool) if drop_mask is None else drop_mask
        if drop.shape != (batch,):
            raise ValueError(f"drop_mask must be [{batch}], got {tuple(drop.shape)}")
        vector = self.bias.expand(batch, -1)
        encoded = [part(conditions, drop.to(device)) for part in self._conditioners()]
        for part in encoded:
            vector = vector + part.global_vector
        with_tokens = [part for part in encoded if part.tokens.shape[1]]
        if not with_tokens:
            return EncodedConditions(global_vector=vector, tokens=vector.new_zeros(batch, 0, self.config.width))
        masked = any(part.mask is not None for part in with_tokens)
        return EncodedConditions(
            global_vector=vector,
            tokens=torch.cat([part.tokens for part in with_tokens], 1),
            mask=torch.cat([part.full_mask() for part in with_tokens], 1) if masked else None,
        )

    def null(self, conditions: Conditions) -> EncodedConditions:
        """The same items with nothing given."""
        return self(conditions, torch.ones(len(conditions), dtype=torch.bool))

    def refuse(self, conditions: Conditions) -> None:
        """Raise ValueError if sampling is asked for something that this generator cannot take; training ignores it."""
        if "text" not in self.parts and any(text.strip() for text in conditions.text):
            raise ValueError("this generator was made without text: leave the prompt empty")
        if "labels" not in self.parts and any(label is not None for label in conditions.labels):
            raise ValueError("this generator was made without class labels: leave the label out")
        for part in self._conditioners():
            part.refuse(conditions)

    def _conditioners(self) -> list[Conditioner]:
        return list(self.parts.values())  # type: ignore[arg-type]
