"""Kind and source -> frozen encoder, loaded once per process."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self, cast

from ....core.config import nearest_hint
from ....core.errors import ConfigError
from ....core.registry import find_class
from ....core.settings import parse_overrides
from .base import FrozenEncoder

# kind of conditioner whose values are embeddings -> module:Class of the encoder
FROZEN = {"frozen_text": ".text:TransformersTextEncoder", "clap": ".clap:ClapEncoder"}
LOADED = 4  # encoders that stay in memory


@dataclass(frozen=True, kw_only=True)
class FrozenSource:
    """Kind, place and options of an encoder; as a text `kind:source` or `kind:source?option=value,option=value`.

    Options that have their default value are left out, so that equal encoders have equal sources.

    Raises:
        ConfigError: an unknown kind (with the nearest known one), or an option that it does not have.
    """

    kind: str  # a name in FROZEN, or module:Class
    source: str  # folder, file or hub id
    options: tuple[tuple[str, Any], ...] = ()  # of the encoder's `from_checkpoint`, in the order of their names

    def __post_init__(self) -> None:
        known = inspect.signature(_encoder_class(self.kind).from_checkpoint).parameters  # type: ignore[attr-defined]
        for name, _ in self.options:
            if name not in known or known[name].kind is not inspect.Parameter.KEYWORD_ONLY:
                options = [name for name, p in known.items() if p.kind is inspect.Parameter.KEYWORD_ONLY]
                raise ConfigError(f"frozen encoder {self.kind} has no option {name!r}: {nearest_hint(name, options)}")
        differing = sorted((name, value) for name, value in self.options if value != known[name].default)
        object.__setattr__(self, "options", tuple(differing))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the source that a text names, such as `frozen_text:google/flan-t5-base?max_tokens=64`.

        Raises:
            ConfigError: a text of another form, an unknown kind or option.
        """
        text, _, options = text.partition("?")
        kind, _, source = text.partition(":")
        if kind not in FROZEN and ":" in source:  # module:Class:source
            name, _, source = source.partition(":")
            kind = f"{kind}:{name}"
        if not source:
            raise ConfigError(f"{text!r} is not kind:source, such as frozen_text:FOLDER or clap:FILE.pt")
        given = parse_overrides(options.split(",")) if options else {}
        return cls(kind=kind, source=source, options=tuple(given.items()))

    def __str__(self) -> str:
        options = ",".join(f"{name}={value}" for name, value in self.options)
        return f"{self.kind}:{self.source}" + (f"?{options}" if options else "")


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
