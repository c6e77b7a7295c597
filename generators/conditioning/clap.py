"""The style of a recording or a text, as one vector in CLAP's joint space of both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ...core.config import option
from .base import ConditionerConfig
from .embedding import EmbeddingConditioner
from .frozen import FrozenSource, load_frozen
from .frozen.clap import Backend


@dataclass(frozen=True, kw_only=True)
class ClapConfig(ConditionerConfig):
    """The CLAP checkpoint."""

    checkpoint: str = option(help="CLAP: a laion-clap .pt file (on a hub owner/name/file.pt), a folder, or a hub id.")
    tokenizer: str | None = option(
        None, "Tokenizer of its text tower: a folder, hub id or tokenizer.json. By default the checkpoint's own."
    )
    backend: Backend = option("transformers", "Whose network hears recordings. laion-clap takes .pt files alone.")
    dim: int | None = option(None, "Width of the joint space. By default it is read from the checkpoint.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim is not None and self.dim < 1:
            raise ValueError(f"dim must be at least 1, got {self.dim}")
        if self.dim is None:
            object.__setattr__(self, "dim", load_frozen(self.source).dim)

    @property
    def source(self) -> FrozenSource:
        """The kind, checkpoint and options that the encoder is loaded from."""
        options = (("tokenizer", self.tokenizer), ("backend", self.backend))
        return FrozenSource(kind="clap", source=self.checkpoint, options=options)


class ClapConditioner(EmbeddingConditioner):
    """One token and one vector of a text or a recording.

    A generator that is trained on the embeddings of its recordings can be asked with a text or with another recording,
    since both lie in one space.
    """

    config_class = ClapConfig
    draws_one: ClassVar[bool] = True
    takes_audio: ClassVar[bool] = True

    def __init__(self, width: int, config: ClapConfig):
        assert config.dim is not None, "the config fills it in"
        super().__init__(width, config, dim=config.dim, num_tokens=1)
        self.frozen = config.source
