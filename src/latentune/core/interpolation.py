"""References between the values of a config: `${steps}` in a file is another key, in a given value it is text.

The syntax is OmegaConf's, which resolves them. Its resolvers, such as `${oc.env:HOME}`, are refused.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import ConfigError

MISSING = "???"
RESOLVER = re.compile(r"(?<!\\)\$\{[^{}]*:[^{}]*\}?")  # such as ${oc.env:HOME}


class _Literal(str):
    """A string that was given in Python or on the command line, which is not interpolated."""


def literal(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values with their strings marked as literal: `resolve` leaves them as they are."""
    marked: dict[str, Any] = _each_string(values, _Literal)
    return marked


def resolve(values: dict[str, Any], source: str | Path | None, allow_missing: bool = False) -> dict[str, Any]:
    """Returns the values with every reference replaced by what it refers to.

    Args:
        values: nested mappings, lists and scalars.
        source: where they are from, for messages.
        allow_missing: leave a value that is `???` as it is.

    Raises:
        ConfigError: a reference to a key that does not exist, or a value that is still `???`.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    held: dict[str, str] = {}
    try:
        tree = OmegaConf.create(_hold(values, held))
        resolved = OmegaConf.to_container(tree, resolve=True, throw_on_missing=not allow_missing)
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, source, values)) from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in _release(resolved, held).items()}


def refuse_resolvers(node: Any, path: str, key: str = "") -> None:
    """Refuses values such as `${oc.env:HOME}`: a config file reads nothing of its surroundings.

    Args:
        node: values of a YAML file, or a part of them.
        path: of the file, for messages.
        key: dotted key of the part, for messages.

    Raises:
        ConfigError: a value that calls a resolver.
    """
    if isinstance(node, dict):
        for name, value in node.items():
            refuse_resolvers(value, path, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            refuse_resolvers(value, path, key)
    elif isinstance(node, str) and (found := RESOLVER.search(node)):
        raise ConfigError(
            f"{path}, key {key}: {found[0]} calls a resolver, which configs may not do; they may refer to other keys, "
            f"such as ${{steps}}. Write the value itself, or give it on the command line: {key}=..."
        )


def escape(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the values with each `${` escaped, so that a YAML file with them reads back the same."""
    escaped: dict[str, Any] = _each_string(values, lambda text: re.sub(r"(\\*)\$\{", r"\1\1\\${", text))
    return escaped


def one_line(error: BaseException) -> str:
    """Returns the message of an error without line breaks, at most 200 characters of it."""
    return " ".join(str(error).split())[:200]


def _each_string(node: Any, change: Callable[[str], Any]) -> Any:
    """`node` with each string in it replaced by what `change` returns."""
    if isinstance(node, Mapping):
        return {key: _each_string(value, change) for key, value in node.items()}
    if isinstance(node, (list, tuple)):
        return [_each_string(value, change) for value in node]
    return change(node) if isinstance(node, str) else node


def _hold(node: Any, held: dict[str, str]) -> Any:
    """`node` with a placeholder for each literal string that OmegaConf would interpret; `held` maps them back."""

    def change(text: str) -> str:
        if not isinstance(text, _Literal) or ("${" not in text and text != MISSING):
            return str(text)
        placeholder = f"\0{len(held)}\0"
        held[placeholder] = str(text)
        return placeholder

    return _each_string(node, change)


def _release(node: Any, held: dict[str, str]) -> Any:
    """`node` with the held strings back in their places, which may be inside of longer strings."""

    def change(text: str) -> str:
        return re.sub("\0\\d+\0", lambda found: held.get(found[0], found[0]), text)

    return _each_string(node, change)


def _explain(error: BaseException, source: str | Path | None, values: Mapping[str, Any]) -> str:
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue):
        return f"config {source} leaves {key} open: give it a value, {key}=...{_misspelt(str(key), values)}"
    return f"config {source}{f', key {key}' if key else ''}: {one_line(error)}"


def _misspelt(key: str, values: Mapping[str, Any]) -> str:
    """Returns a hint if a key next to the missing one reads almost like it, such as `data.sorce`."""
    *parents, name = key.split(".")
    for parent in parents:
        if not isinstance(below := values.get(parent), Mapping):
            return ""
        values = below
    near = difflib.get_close_matches(name, [str(other) for other in values if other != name], n=1, cutoff=0.8)
    return f" (is {'.'.join([*parents, near[0]])} a misspelling of it?)" if near else ""
