"""Fields of config dataclasses: their types, defaults and help texts, for options and forms that are made of them."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

Field = dataclasses.Field[Any]


def fields_of(cls: type[Any]) -> list[tuple[Field, Any]]:
    """Returns the fields of a config dataclass with their types."""
    hints = typing.get_type_hints(cls)
    return [(field, hints[field.name]) for field in dataclasses.fields(cls) if field.init]


def default_text(field: Field) -> str:
    """Returns the default value of a field as a help text shows it; empty for a required field."""
    if is_required(field):
        return ""
    factory = field.default_factory
    value = factory() if callable(factory) else field.default
    if value is None or (isinstance(value, (tuple, dict, str)) and not value):
        return "none"
    return ", ".join(map(_shown, value)) if isinstance(value, tuple) else _shown(value)


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def part_of(hint: Any) -> Any:
    """Returns a type without its `None` alternative."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [part for part in typing.get_args(hint) if part is not type(None)]
        return parts[0] if len(parts) == 1 else hint
    return hint


def nested_configs(hint: Any) -> list[type[Any]]:
    """Returns the dataclasses that a field of this type may hold."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return [part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)]


def is_required(field: Field) -> bool:
    """Returns whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def is_many(hint: Any) -> bool:
    """Returns whether a field holds any number of values."""
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[-1] is Ellipsis


def help_text(field: Field) -> str:
    """Returns the help of a field with its default, unless the text describes the default in words."""
    text, default = str(field.metadata.get("help", "")), default_text(field)
    if not default or (default == "none" and "default" in text):
        return text
    return f"{text}  [default: {default}]"
