"""YAML files, composed and overridden, into config dataclasses.

A mapping anywhere in a file may hold `include: name`: the included file's keys, under the mapping's own. Names are
looked for beside the including file, in the working directory, then among the shipped configs (`train/codicodec-mini`).
`${steps}` refers to another key; `???` marks a value that has to be given. The key `class`, a Python keyword, is the
field `class_name`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

from .config import build_config, config_to_dict, nearest_hint
from .errors import ConfigError
from .files import write_text

T = TypeVar("T")
INCLUDE = "include"
MAX_INCLUDES = 16  # files that may include each other in a row; more is taken for a circle


def load_config(
    cls: type[T], source: str | Path | None, overrides: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> T:
    """The dataclass `cls` from a YAML file (a path or a shipped name), values on top of it, and `key=value` overrides.

    Raises:
        ConfigError: no such file, not YAML, an unknown key (with the nearest known one), a missing or ill-typed value.
    """
    return build_config(cls, load_settings(source, overrides, given))


def load_settings(
    source: str | Path | None, overrides: Sequence[str] = (), given: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The mapping of a YAML file, with `given` and the overrides on top, includes and references resolved."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    root, folder = ({}, Path.cwd()) if source is None else _read(source, None)
    try:
        root = _merge(_merge(_own_include(root, folder), given or {}), parse_overrides(overrides))
        config = OmegaConf.create(_expand(root, folder))
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, source)) from error
    assert isinstance(resolved, dict)
    return _python_names({str(key): value for key, value in resolved.items()})


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """`["steps=10", "data.where={split: train}"]` as nested mappings; later ones win.

    Raises:
        ConfigError: an entry that is not `key=value`, or whose value is not YAML.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    for entry in overrides:
        key, sign, _ = entry.partition("=")
        if not sign or not key.strip():
            raise ConfigError(f"override {entry!r} is not key=value, such as steps=100 or data.source=music/")
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist(list(overrides)))
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"override cannot be read: {_line(error)}") from error
    assert isinstance(parsed, dict)
    return {str(key): value for key, value in parsed.items()}


def save_config(config: Any, path: str | Path) -> None:
    """Write a config dataclass as YAML that `load_config` reads back."""
    write_text(path, dump_config(config))


def dump_config(config: Any) -> str:
    """A config dataclass as YAML text."""
    import yaml

    return yaml.safe_dump(_yaml_names(config_to_dict(config)), sort_keys=False, allow_unicode=True)


def shipped_configs(folder: str = "") -> list[str]:
    """Names of the YAML files in the package below `folder`, such as `train/codicodec-mini`."""
    root = files("latentune.configs")
    return sorted(name for name in _names(root, "") if name.startswith(folder))


def _names(folder: Traversable, prefix: str) -> Iterator[str]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _names(entry, f"{prefix}{entry.name}/")
        elif entry.name.endswith(".yaml"):
            yield prefix + entry.name.removesuffix(".yaml")


def _find(name: str | Path, beside: Path | None) -> Path | Traversable:
    text = str(name)
    file_name = text if text.endswith((".yaml", ".yml")) else f"{text}.yaml"
    for folder in (beside, Path.cwd()):
        if folder is not None and (folder / Path(file_name).expanduser()).is_file():
            return folder / Path(file_name).expanduser()
    if not Path(file_name).is_absolute() and ".." not in Path(file_name).parts:
        shipped = files("latentune.configs") / file_name
        if shipped.is_file():
            return shipped
    hint = nearest_hint(text.removesuffix(".yaml"), shipped_configs())
    raise ConfigError(f"no config {text!r}, neither a file nor shipped: {hint}")


def _read(name: str | Path, beside: Path | None) -> tuple[dict[str, Any], Path | None]:
    """A YAML file's own keys, and its folder where it lies on disk."""
    import yaml
    from omegaconf import OmegaConf

    path = _find(name, beside)
    try:
        # through OmegaConf, whose YAML reads 1e-4 as a number
        parsed = OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {_line(error)}") from error
    if not isinstance(parsed, dict):
        raise ConfigError(f"{path} must hold a mapping of keys")
    return {str(key): value for key, value in parsed.items()}, path.parent if isinstance(path, Path) else None


def _own_include(node: dict[str, Any], folder: Path | None) -> dict[str, Any]:
    """`node` over the file it includes, that over the one it includes, and so on; children are left as they are."""
    for _ in range(MAX_INCLUDES):
        if INCLUDE not in node:
            return node
        name = node[INCLUDE]
        if not isinstance(name, str):
            raise ConfigError(f"include takes the name of one config, got {name!r}")
        base, folder = _read(name, folder)
        node = _merge(base, {key: value for key, value in node.items() if key != INCLUDE})
    raise ConfigError(f"configs include each other in a circle, at {node[INCLUDE]!r}")


def _expand(node: Any, folder: Path | None) -> Any:
    """`node` with the includes of its mappings, at any depth, replaced by what they name."""
    if isinstance(node, dict):
        return {key: _expand(value, folder) for key, value in _own_include(node, folder).items()}
    return node


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`over` on `base`: mappings are merged, all else is replaced."""
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


def _python_names(values: dict[str, Any]) -> dict[str, Any]:
    return _rename(values, "class", "class_name")


def _yaml_names(values: dict[str, Any]) -> dict[str, Any]:
    return _rename(values, "class_name", "class")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _explain(error: BaseException, source: str | Path | None) -> str:
    from omegaconf.errors import MissingMandatoryValue

    key = getattr(error, "full_key", None)
    if isinstance(error, MissingMandatoryValue):
        return f"config {source} leaves {key} open: give it a value, {key}=..."
    return f"config {source}{f', key {key}' if key else ''}: {_line(error)}"
