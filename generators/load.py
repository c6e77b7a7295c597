"""Name -> generator. The only module that knows all kinds."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core.config import nearest_hint
from ..core.errors import CheckpointError
from .base import LatentGenerator

# generator class, as written in config.json -> where it lives
KINDS = {"DiffusionTransformer": ".diffusion", "TokenLM": ".language"}


def generator_class(class_name: str) -> type[LatentGenerator]:
    """The generator class called `class_name`; raises ValueError that names the nearest known one."""
    if class_name not in KINDS:
        raise ValueError(f"no generator class {class_name!r}: {nearest_hint(class_name, KINDS)}")
    return getattr(import_module(KINDS[class_name], __package__), class_name)


def load_generator(path: str | Path, **options: Any) -> LatentGenerator:
    """Load a generator from a folder with config.json and weights, in eval mode.

    Raises:
        CheckpointError: no such folder, or it holds something else.
    """
    config_path = Path(path) / "config.json"
    if not config_path.is_file():
        raise CheckpointError(f"{path} holds no config.json: it is not a saved generator")
    try:
        class_name = json.loads(config_path.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{config_path} is not the config of a generator ({error!r})") from error
    return generator_class(class_name).from_pretrained(path, **options)
