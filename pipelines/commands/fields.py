"""Fields of config dataclasses as options of the command line."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any

import click

from ...core.fields import Field, fields_of, help_text, is_many, nested_configs, part_of
from ...core.settings import parse_overrides


def metavar(field: Field) -> str:
    """Returns the name of a field as an argument, in capitals."""
    return str(field.metadata.get("name") or field.name).upper()


def has_option(field: Field, hint: Any) -> bool:
    """Returns whether a field has an option of its own; others are arguments, or keys alone."""
    hidden = field.metadata.get("positional") or field.metadata.get("hidden")
    return not (hidden or nested_configs(hint))


def parameter_name(key: str) -> str:
    """Returns the name of the click parameter of a dotted key."""
    return key.replace(".", "__")


def option_of(key: str, field: Field, hint: Any) -> click.Option:
    """Returns the click option of a field. Its default is always None: what is not given is left to the dataclass.

    Args:
        key: dotted key of the field in the config.
        field: has the help text, and perhaps a name and a short form of its own.
        hint: type of the field.
    """
    name = str(field.metadata.get("name") or field.name).replace("_", "-")
    part, arguments = part_of(hint), typing.get_args(part_of(hint))
    declarations = [parameter_name(key), f"--{name}"]
    kind: dict[str, Any] = {"type": _click_type(part)}
    if part is bool:
        declarations[1] += f"/--no-{name}"
        kind = {}
    elif is_many(part):
        kind = {"type": _click_type(arguments[0]), "multiple": True}
    elif typing.get_origin(part) is tuple:
        kind = {"type": tuple(_click_type(argument) for argument in arguments)}
    elif typing.get_origin(part) is dict or part is dict:
        kind = {"multiple": True, "metavar": "KEY=VALUE"}
    if short := field.metadata.get("short"):
        declarations.append(f"-{short}")
    return click.Option(declarations, default=None, help=help_text(field), **kind)


def _click_type(hint: Any) -> Any:
    if typing.get_origin(hint) is typing.Literal:
        return click.Choice([str(value) for value in typing.get_args(hint)])
    return hint if hint in (int, float) else str


def parsed_value(field: Field, hint: Any, value: Any) -> Any:
    """Returns the value that click parsed as a value of the field.

    Args:
        field: of the config.
        hint: its type.
        value: texts and numbers, as click gives them.

    Raises:
        click.UsageError: a text of a mapping that is not KEY=VALUE.
    """
    if typing.get_origin(part_of(hint)) is dict:
        if wrong := [text for text in value if "=" not in text]:
            name = str(field.metadata.get("name") or field.name).replace("_", "-")
            message = f"Invalid value for '--{name}': {wrong[0]!r} is not KEY=VALUE."
            raise click.UsageError(message, click.get_current_context(silent=True))
        return parse_overrides(value)
    if field.metadata.get("commas"):
        return tuple(part for text in value for part in text.split(",") if part)
    return value


def key_records(cls: type[Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields name and help of the keys that have no option: hidden fields, and those of nested configs."""
    for field, hint in fields_of(cls):
        nested = nested_configs(hint)
        if len(nested) == 1:
            yield from key_records(nested[0], f"{prefix}{field.name}.")
        elif nested:  # which one it is depends on other keys
            yield f"{prefix}{field.name}.*", help_text(field)
        elif prefix or field.metadata.get("hidden"):
            yield prefix + field.name.replace("class_name", "class"), help_text(field)
