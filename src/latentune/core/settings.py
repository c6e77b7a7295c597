"""YAML files, composed and overridden, into config dataclasses.

A mapping anywhere in a file may hold `include: name`: the keys of that file, with the mapping's own keys on top. Names
are looked up in the folder of the including file, in the working directory, and among the shipped configs
(`train/codicodec-mini`). In a file, `${steps}` refers to another key and `???` marks a value that must be given. Values
that are given in Python or as `key=value` are taken literally: they are never interpolated. The key `class`, a Python
keyword, is the field `class_name`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .config import build_config, config_to_dict, nearest_hint
from .errors import ConfigError
from .files import write_text
from .interpolation import escape, literal, one_line, refuse_resolvers, resolve

if TYPE_CHECKING:
    import yaml

T = TypeVar("T")
INCLUDE = "include"
MAX_INCLUDES = 16  # depth of includes above which they are taken for a cycle
# YAML 1.1, which PyYAML reads, takes 1e-4 for a string; YAML 1.2 and everybody else for a number
FLOAT = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


def load_config(
    cls: type[T], source: str | Path | None, overrides: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> T:
    """Builds the dataclass `cls` from a YAML file, given values, and `key=value` overrides.

    Args:
        cls: a config dataclass.
        source: a path or a shipped name; None starts from no keys.
        overrides: `key=value` texts, which win over everything else.
        given: values that win over the file.

    Returns:
        The config.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (with the nearest known one), a missing or ill-typed value.
    """
    return build_config(cls, load_settings(source, overrides, given))


def load_settings(
    source: str | Path | None,
    overrides: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    *,
    allow_missing: bool = False,
) -> dict[str, Any]:
    """Returns the mapping of a YAML file with the given values and overrides on top, includes and references resolved.

    Args:
        source: a path or a shipped name; None starts from no keys.
        overrides: `key=value` texts, which win over everything else.
        given: values that win over the file.
        allow_missing: leave a key without a value as `???`.

    Raises:
        ConfigError: no such file, not YAML, or a key without a value.
    """
    root, folder = ({}, Path.cwd()) if source is None else _read(source, None)
    on_top = literal(_merge(dict(given or {}), parse_overrides(overrides)))
    resolved = resolve(_expand(_merge(_own_include(root, folder), on_top), folder), source, allow_missing)
    renamed: dict[str, Any] = _rename(resolved, "class", "class_name")
    return renamed


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Returns `["steps=10", "data.where={split: train}"]` as nested mappings; later entries win.

    Raises:
        ConfigError: an entry that is not `key=value`, or whose value is not YAML.
    """
    import yaml

    parsed: dict[str, Any] = {}
    for entry in overrides:
        key, sign, text = entry.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"override {entry!r} is not key=value, such as steps=100 or data.source=music/")
        try:
            value = yaml.load(text, Loader=_loader())
        except yaml.YAMLError as error:
            raise ConfigError(f"override cannot be read: {entry!r}: {one_line(error)}") from error
        for part in reversed(key.strip().split(".")):
            value = {part: value}
        parsed = _merge(parsed, value)
    return parsed


def save_config(config: Any, path: str | Path) -> None:
    """Writes a config dataclass as YAML that `load_config` reads back."""
    write_text(path, dump_config(config))


def dump_config(config: Any) -> str:
    """Returns a config dataclass as YAML text."""
    import yaml

    values = _rename(escape(config_to_dict(config)), "class_name", "class")
    return str(yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def shipped_configs(folder: str = "") -> list[str]:
    """Returns the names of the YAML files in the package below `folder`, such as `train/codicodec-mini`."""
    root = files("latentune.configs")
    return sorted(name for name in _names(root, "") if name.startswith(folder))


def _names(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def _find(name: str | Path, folder: Path | None) -> Path | Traversable:
    text = str(name)
    file_name = text if text.endswith((".yaml", ".yml")) else f"{text}.yaml"
    for place in (folder, Path.cwd()):
        if place is not None and (place / Path(file_name).expanduser()).is_file():
            return place / Path(file_name).expanduser()
    if not Path(file_name).is_absolute() and ".." not in Path(file_name).parts:
        shipped = files("latentune.configs") / file_name
        if shipped.is_file():
            return shipped
    if Path(text).expanduser().is_file():
        raise ConfigError(f"{text} is not a config: give a .yaml file or a shipped name, see `latentune list configs`")
    hint = nearest_hint(text.removesuffix(".yaml"), shipped_configs())
    raise ConfigError(f"no config {text!r}, neither a file nor a shipped name: {hint}")


def _read(name: str | Path, folder: Path | None) -> tuple[dict[str, Any], Path | None]:
    """The keys of a YAML file, and its folder if it is a file on disk."""
    import yaml

    path = _find(name, folder)
    try:
        parsed = yaml.load(path.read_text(encoding="utf-8"), Loader=_loader())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {one_line(error)}") from error
    if parsed is None:
        parsed = {}
    if not isinstance(parsed, dict):
        raise ConfigError(f"{path} must hold a mapping of keys")
    refuse_resolvers(parsed, str(path))
    return {str(key): value for key, value in parsed.items()}, path.parent if isinstance(path, Path) else None


@functools.cache
def _loader() -> type[yaml.SafeLoader]:
    """A YAML loader that reads 1e-4 as a number, dates as text, and refuses a key that appears twice."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc,unused-ignore]  # PyYAML has no type hints
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            if twice := [name for name in names if names.count(name) > 1]:
                raise yaml.constructor.ConstructorError(None, None, f"key {twice[0]} appears twice", node.start_mark)
            mapping: dict[Any, Any] = super().construct_mapping(node, deep)
            return mapping

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+.0123456789"))
    return Loader


def _own_include(node: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """`node` on top of the file that it includes, that on top of the next one, and so on; children stay as they are."""
    for _ in range(MAX_INCLUDES):
        if INCLUDE not in node:
            return node
        name = node[INCLUDE]
        if not isinstance(name, str):
            raise ConfigError(f"include takes the name of one config, got {name!r}")
        base, folder = _read(name, folder)
        node = _merge(base, {key: value for key, value in node.items() if key != INCLUDE})
    raise ConfigError(f"configs include each other in a circle, at {str(node[INCLUDE])!r}")


def _expand(node: Any, folder: Path | None) -> Any:
    """`node` with the includes of its mappings, at any depth, replaced by what they name."""
    if isinstance(node, dict):
        return {key: _expand(value, folder) for key, value in _own_include(node, folder).items()}
    return node


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on top of `base`: mappings are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, dict)
        merged[key] = _merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _rename(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {new if key == old else key: _rename(item, old, new) for key, item in value.items()}
    return value
