"""The page of the configuration: the fields of every config dataclass."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from latentune.pipelines.commands.keys import field_comments

HEAD = """# Configuration

Every key of a YAML file, and every `key=value` after a command, sets a field of one of these dataclasses. A field that
is a dataclass itself takes a mapping: `optimizer: {lr: 1.0e-3}`, or `optimizer.lr=1e-3` on the command line. An unknown
key is refused with the name of the nearest known one.

"""
ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("pipelines", "generators", "tokenizers", "src/latentune/layers", "src/latentune/core")  # in this order


def config_page() -> str:
    """Returns the Markdown of all config dataclasses, grouped by module."""
    text, module = HEAD, ""
    for cls in config_classes():
        if cls.__module__ != module:
            module = cls.__module__
            text += f"## {module.removeprefix('latentune.')}\n\n"
        text += _class_section(cls)
    return text


def config_classes() -> list[type]:
    """Returns every public dataclass of the package called `...Config`, or with a field that is a documented option."""
    found: list[type] = []
    for module in _modules():
        for cls in vars(module).values():
            mine = inspect.isclass(cls) and cls.__module__ == module.__name__ and dataclasses.is_dataclass(cls)
            if mine and not cls.__name__.startswith("_") and _is_config(cls):
                found.append(cls)
    return found


def _modules() -> list[ModuleType]:
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    names = [f"latentune.{name.removeprefix('src.latentune.').removesuffix('.__init__')}" for name in names]
    return [importlib.import_module(name) for name in names]


def _is_config(cls: type) -> bool:
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    return bool(fields) and (cls.__name__.endswith("Config") or any(f.metadata.get("help") for f in fields))


def _class_section(cls: Any) -> str:
    comments = field_comments(cls)
    first = (inspect.getdoc(cls) or "").split("\n\n")[0]
    rows = ""
    for field in dataclasses.fields(cls):
        if field.init:
            meaning = field.metadata.get("help") or comments.get(field.name, "")
            key = "class" if field.name == "class_name" else field.name  # `class` is a word of Python
            rows += f"| `{key}` | `{_type_name(field.type)}` | {_default(field)} | {_cell(meaning)} |\n"
    return f"### {cls.__name__}\n\n{first}\n\n| key | type | default | meaning |\n|---|---|---|---|\n{rows}\n"


def _type_name(hint: Any) -> str:
    text = hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))
    return str(text).replace("|", "or")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    if dataclasses.is_dataclass(value):
        return f"`{type(value).__name__}()`"
    return f"`{_cell(repr(value))}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
