"""Mappings (from YAML or JSON) into config dataclasses: unknown keys are refused with the nearest known one."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .errors import ConfigError

T = TypeVar("T")


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    factory: Callable[[], Any] | None = None,
    positional: bool = False,
    short: str | None = None,
    name: str | None = None,
    hidden: bool = False,
    commas: bool = False,
) -> Any:
    """Returns a dataclass field that documents itself: the command line and the reference are generated from it.

    Args:
        default: the default value; a field without one is required.
        help: one or more sentences on the meaning and the unit of the value. Do not repeat the default or the choices
            of a `Literal`, which are shown as well.
        factory: a function that makes the default, such as `dict`, in place of `default`.
        positional: the command line takes the value as an argument instead of an option.
        short: the letter of a short option, such as `"p"` for `-p`.
        name: the name on the command line, where it differs from the field's, such as `"prompt"` for `prompts`.
        hidden: the command line has no option of its own for the field; `key=value` still sets it.
        commas: on the command line, one option may hold several values, separated by commas.
    """
    metadata = {
        "help": help,
        "positional": positional,
        "short": short,
        "name": name,
        "hidden": hidden,
        "commas": commas,
    }
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def refuse_unknown(options: Iterable[str], known: Iterable[str], owner: str, others: Iterable[str] = ()) -> None:
    """Checks names of options.

    Args:
        options: the names that are given.
        known: the names that they may have.
        owner: what has these options, for the message.
        others: names that the owner knows as well, but that are read elsewhere; for the message.

    Raises:
        TypeError: one of `options` is not known; the message has the nearest known one.
    """
    known = list(known)
    for name in options:
        if name not in known:
            raise TypeError(f"{owner} has no option {name}: {nearest_hint(name, [*known, *others])}")


def nearest_hint(key: str, known: Iterable[str]) -> str:
    """Returns the end of an error message: the nearest known key, or all known ones if none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"


def build_config(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Builds the dataclass `cls` from a mapping, nested dataclasses included.

    Args:
        cls: a config dataclass.
        values: the mapping of its keys.
        where: dotted path of this mapping in the whole config, for messages.

    Raises:
        ConfigError: an unknown key (with the nearest known one), a missing required key, or a value of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where or cls.__name__}: expected a mapping of keys, got {type(values).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in fields:
            raise ConfigError(f"unknown config key {prefix}{key!s}: {nearest_hint(str(key), fields)}")
    missing = [
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise ConfigError(f"config {where or cls.__name__} lacks the required key(s) {', '.join(missing)}")
    arguments = {key: convert_value(value, hints[key], f"{prefix}{key}") for key, value in values.items()}
    try:
        return cls(**arguments)
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"config {where or cls.__name__}: {error}") from error


def config_to_dict(config: Any) -> dict[str, Any]:
    """Returns a config dataclass as plain dicts, lists and scalars, ready for JSON or YAML."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value

    values: dict[str, Any] = plain(dataclasses.asdict(config))
    return values


def convert_value(value: Any, hint: Any, where: str) -> Any:
    """Converts `value` (of YAML, JSON or the command line) to the annotated type `hint`.

    Args:
        value: the value as it was read.
        hint: the type annotation of its field.
        where: name of the value, for messages.

    Returns:
        The value as an instance of the type.

    Raises:
        ConfigError: the conversion would change the meaning of the value.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _convert_union(value, arguments, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: got {value!r}, allowed: {', '.join(map(repr, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else build_config(hint, value, where)  # type: ignore[arg-type]
    if origin in (tuple, list):
        return _convert_sequence(value, origin, arguments, where)
    if origin is dict or hint is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: expected a mapping, got {value!r}")
        value_hint = arguments[1] if arguments else Any
        return {key: convert_value(item, value_hint, f"{where}.{key}") for key, item in value.items()}
    return _convert_scalar(value, hint, where)


def _convert_union(value: Any, options: tuple[Any, ...], where: str) -> Any:
    if value is None and type(None) in options:
        return None
    real = [option for option in options if option is not type(None)]
    for option in real:
        try:
            return convert_value(value, option, where)
        except ConfigError:
            if len(real) == 1:
                raise
    raise ConfigError(f"{where}: {value!r} is not one of {', '.join(map(str, real))}")


def _convert_sequence(value: Any, kind: type, arguments: tuple[Any, ...], where: str) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ConfigError(f"{where}: expected a list, got {value!r}")
    if kind is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(arguments) != len(value):
            raise ConfigError(f"{where}: expected {len(arguments)} values, got {len(value)}")
        pairs = enumerate(zip(value, arguments, strict=True))
        return tuple(convert_value(item, hint, f"{where}[{i}]") for i, (item, hint) in pairs)
    item = arguments[0] if arguments else Any
    return kind(convert_value(v, item, f"{where}[{i}]") for i, v in enumerate(value))


def _convert_scalar(value: Any, hint: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):  # YAML 1.1 reads 1e-4 as a string
        try:
            return float(value)
        except ValueError:
            pass
    if isinstance(value, hint) and not (hint in (int, float) and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: expected {hint.__name__}, got {value!r} ({type(value).__name__})")
