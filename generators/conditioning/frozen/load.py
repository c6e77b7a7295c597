"""Kind and source -> frozen encoder, loaded once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, cast

from ....core.errors import ConfigError
from ....core.registry import find_class
from .base import FrozenEncoder

# kind of conditioner whose values are embeddings -> module:Class of the encoder
FROZEN = {"frozen_text": ".text:TransformersTextEncoder", "clap": ".clap:ClapEncoder"}
LOADED = 4  # encoders that stay in memory


@dataclass(frozen=True, kw_only=True)
class FrozenSource:
    """Kind, place and options of an encoder, written `kind:source` in commands, such as `frozen_text:google/flan-t5-base`."""

    kind: str  # a name in FROZEN, or module:Class
    source: str  # folder, file or hub id
    options: tuple[tuple[str, Any], ...] = ()  # of the encoder's `from_checkpoint`

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the source that `kind:source` names.

        Raises:
            ConfigError: a text of another form, or an unknown kind (with the nearest known one).
        """
        kind, _, source = text.partition(":")
        if kind not in FROZEN and ":" in source:  # module:Class:source
            name, _, source = source.partition(":")
            kind = f"{kind}:{name}"
        if not source:
            raise ConfigError(f"{text!r} is not kind:source, such as frozen_text:FOLDER or clap:FILE.pt")
        _encoder_class(kind)
        return cls(kind=kind, source=source)

    def __str__(self) -> str:
        return f"{self.kind}:{self.source}"


def load_frozen(source: FrozenSource) -> FrozenEncoder:
    """Loads an encoder in eval mode on the CPU; the last few are kept, so that asking again costs nothing.

    Raises:
        ConfigError: an unknown kind, or an option that it does not have.
        CheckpointError: nothing usable at the source.
    """
    return _load(source)


@lru_cache(maxsize=LOADED)
def _load(source: FrozenSource) -> FrozenEncoder:
    cls: Any = _encoder_class(source.kind)
    return cast(FrozenEncoder, cls.from_checkpoint(source.source, **dict(source.options)))


def _encoder_class(kind: str) -> type[FrozenEncoder]:
    base: type[FrozenEncoder] = FrozenEncoder  # type: ignore[type-abstract]
    return find_class(kind, FROZEN, base, what="frozen encoder", package=__package__)
