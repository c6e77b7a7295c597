"""Text through a frozen text encoder of transformers, one token of the condition per token of the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...core.config import option
from .base import ConditionerConfig
from .embedding import EmbeddingConditioner
from .frozen import FrozenSource
from .frozen.text import read_width


@dataclass(frozen=True, kw_only=True)
class FrozenTextConfig(ConditionerConfig):
    """The text encoder, and how much of a text it reads."""

    encoder: str = option(
        help="Text encoder in transformers' format (T5, Gemma, MiniLM and so on): a folder or hub id."
    )
    dim: int | None = option(
        None, "Width of the encoder's embeddings. By default it is read from the encoder's config."
    )
    max_tokens: int = option(128, "Number of tokens that a longer text is cut to.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_tokens < 1 or (self.dim is not None and self.dim < 1):
            raise ValueError(f"max_tokens and dim must be at least 1, got {self.max_tokens} and {self.dim}")
        if self.dim is None:
            object.__setattr__(self, "dim", read_width(self.encoder))


class FrozenTextConditioner(EmbeddingConditioner):
    """One token of the condition per token of the text, and their mean as the vector."""

    config_class = FrozenTextConfig
    draws_one: ClassVar[bool] = True

    def __init__(self, width: int, config: FrozenTextConfig):
        assert config.dim is not None, "the config fills it in"
        super().__init__(width, config, dim=config.dim, num_tokens=config.max_tokens)
        options = (("max_tokens", config.max_tokens),)
        self.frozen = FrozenSource(kind="frozen_text", source=config.encoder, options=options)
