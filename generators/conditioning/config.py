"""The conditions that a generator can be asked for, as a part of its config."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from ...core.config import build_config, config_to_dict, option
from ...core.errors import ConfigError
from ...core.registry import find_class
from .base import Conditioner, ConditionerConfig

logger = logging.getLogger(__name__)

# kind of conditioner, as written in configs -> module:Class
CONDITIONERS = {
    "bytes": ".text:ByteTextEncoder",
    "words": ".words:WordsConditioner",
    "labels": ".labels:LabelConditioner",
    "seconds": ".seconds:SecondsConditioner",
    "number": ".number:NumberConditioner",
    "frozen_text": ".frozen_text:FrozenTextConditioner",
    "clap": ".clap:ClapConditioner",
    "characters": ".characters:CharacterConditioner",
    "phonemes": ".phonemes:PhonemeConditioner",
    "reference": ".reference:ReferenceConditioner",
}
KIND = "kind"
DEFAULT: Mapping[str, Any] = {"text": {KIND: "bytes"}, "seconds": {KIND: "seconds"}}


@dataclass(frozen=True, kw_only=True)
class ConditioningConfig:
    """The conditioners of a generator, by the name of the condition.

    Raises:
        ConfigError: an unknown kind, or a key that the kind does not have.
        ValueError: a wrong width, or the name of a condition that a module cannot have.
    """

    width: int = option(256, "Width of the vectors and tokens of all conditions.")
    conditioners: dict[str, Any] = option(
        factory=lambda: dict(DEFAULT),
        help="Conditioners by the name of the condition: `kind` (bytes, words, labels, seconds, number, frozen_text, "
        "clap, characters, phonemes, reference or module:Class) and the options of that kind. null leaves one out.",
    )

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ValueError(f"width must be positive, got {self.width}")
        given = {name: values for name, values in self.conditioners.items() if values is not None}
        complete = {}
        for name, values in given.items():
            if not name.isidentifier() or hasattr(nn.ModuleDict, name):
                raise ValueError(f"a condition cannot be called {name!r}: use letters, digits and underscores")
            config = _conditioner_config(name, values)
            config.check(self.width)
            complete[name] = {KIND: values[KIND], **config_to_dict(config)}
        # what is left to the defaults is written out, so that a saved config does not change with them
        object.__setattr__(self, "conditioners", complete)

    def build(self) -> dict[str, Conditioner]:
        """Returns the conditioners with random weights: those that give tokens first, then by name."""
        parts = {
            name: conditioner_class(values[KIND])(self.width, _conditioner_config(name, values))
            for name, values in self.conditioners.items()
        }
        return {name: parts[name] for name in sorted(parts, key=lambda name: (not parts[name].num_tokens, name))}

    @property
    def drop_probabilities(self) -> dict[str, float]:
        """Probability of being dropped on its own, of each condition that has one."""
        found = {name: values["drop_probability"] for name, values in self.conditioners.items()}
        return {name: float(probability) for name, probability in sorted(found.items()) if probability}


def conditioner_class(kind: str) -> type[Conditioner]:
    """Returns the conditioner of a kind, a name in `CONDITIONERS` or `module:Class`.

    Raises:
        ConfigError: an unknown kind (with the nearest known one), a path that leads to no conditioner, or one whose
            `config_class` does not derive from `ConditionerConfig`.
    """
    base: type[Conditioner] = Conditioner  # type: ignore[type-abstract]
    found = find_class(kind, CONDITIONERS, base, what="kind of conditioner", package=__package__)
    if not issubclass(found.config_class, ConditionerConfig):
        raise ConfigError(
            f"kind of conditioner {kind!r}: its config_class, {found.config_class.__name__}, must derive from "
            "ConditionerConfig"
        )
    return found


def _conditioner_config(name: str, values: Any) -> ConditionerConfig:
    where = f"conditioning.conditioners.{name}"
    if not isinstance(values, Mapping) or not isinstance(values.get(KIND), str):
        raise ConfigError(f"{where}: expected a mapping with a {KIND} ({', '.join(CONDITIONERS)}), got {values!r}")
    config_class = conditioner_class(values[KIND]).config_class
    options = {
        key: value for key, value in values.items() if key not in {KIND, *_left_over(values, config_class, where)}
    }
    return build_config(config_class, options, where)


def _left_over(values: Mapping[str, Any], config_class: type[ConditionerConfig], where: str) -> set[str]:
    """Returns the options of another kind that a config has after its `kind` was changed on top of an included one."""
    unknown = set(values) - {KIND} - {field.name for field in fields(config_class)}
    for kind in CONDITIONERS if unknown else ():
        if unknown <= {field.name for field in fields(conditioner_class(kind).config_class)}:
            logger.info("%s: %s belong to the kind %s and are left out", where, ", ".join(sorted(unknown)), kind)
            return unknown
    return set()
