"""The keys of a training config with their values and meanings."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...core.fields import default_text, fields_of, nested_configs
from ...core.settings import load_settings
from ...generators.load import generator_class
from ...tokenizers.load import tokenizer_class
from ..training.config import TrainConfig
from ..training.data_config import AudioDataConfig, data_class
from ..training.objectives import KIND
from ..training.start_weights import FROM_DATASET, with_start

MISSING = "???"


def key_rows(source: str, overrides: Sequence[str]) -> list[tuple[str, str]]:
    """Returns `key = value` and the meaning of each key of a training config, the nested configs included.

    Args:
        source: a path or a shipped name.
        overrides: `key=value` texts.

    Raises:
        ConfigError: no such config, or a class that does not exist.
    """
    values = load_settings(source, overrides, allow_missing=True)
    if values.get("model", {}).get("init_from", MISSING) != MISSING:
        values["model"] = with_start(values["model"])
    class_name = values.get("model", {}).get("class_name", MISSING)
    known = {} if class_name == MISSING else _chosen_configs(class_name, values["model"])
    return [(key.replace("class_name", "class"), text) for key, text in _rows(TrainConfig, values, "", known)]


def field_comments(cls: type[Any]) -> dict[str, str]:
    """Returns the comment after each field of a dataclass and of its bases: the help of fields that have no other."""
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        lines = inspect.getsource(base).splitlines()
        body = ast.parse(inspect.cleandoc("\n".join(lines))).body[0]
        assert isinstance(body, ast.ClassDef)
        for node in body.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                line = lines[(node.end_lineno or node.lineno) - 1]
                if "  # " in line:
                    comments[node.target.id] = line.rpartition("  # ")[2]
    return comments


def _chosen_configs(class_name: str, model: Mapping[str, Any]) -> dict[str, type[Any]]:
    """The config dataclasses that depend on the class of the model, by their dotted keys."""
    data = data_class(class_name)
    cls: Any = tokenizer_class(class_name) if data is AudioDataConfig else generator_class(class_name)
    objective = cls.objective_class(model.get("objective", {}).get(KIND))
    return {"data": data, "model.config": cls.config_class, "model.objective": objective.config_class}


def _rows(
    cls: type[Any], values: Mapping[str, Any], prefix: str, known: Mapping[str, type[Any]]
) -> Iterator[tuple[str, str]]:
    comments = field_comments(cls)
    for field, hint in fields_of(cls):
        key = f"{prefix}{field.name}"
        if prefix == "model.config." and field.name in FROM_DATASET:
            continue
        nested = known.get(key) or next(iter(nested_configs(hint)), None)
        value = values.get(field.name)
        if nested is not None:
            yield from _rows(nested, value if isinstance(value, Mapping) else {}, f"{key}.", known)
        else:
            text = _text(values[field.name]) if field.name in values else default_text(field) or "required"
            yield f"{key} = {text}", str(field.metadata.get("help") or comments.get(field.name, ""))


def _text(value: Any) -> str:
    if value == MISSING:
        return "required"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
