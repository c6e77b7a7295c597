"""Name -> generator: the only module that knows all kinds of the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from ..core.device import Precision, placement
from ..core.errors import CheckpointError
from ..core.hub import HUB_OPTIONS, Source
from ..core.registry import find_class, refuse_own_modules
from .adapters import MANIFEST as ADAPTER
from .adapters import adapter_base, load_adapters
from .base import LatentGenerator

CONFIG_FILE = "config.json"
# generator class, as written in config.json -> module:Class
KINDS = {
    "ContinuousAR": ".continuous:ContinuousAR",
    "DiffusionTransformer": ".diffusion:DiffusionTransformer",
    "TokenLM": ".language:TokenLM",
    "TokenSetLM": ".language:TokenSetLM",
}


def generator_class(class_name: str) -> type[LatentGenerator]:
    """Returns the generator class called `class_name`, a name in `KINDS` or `module:Class`.

    Raises:
        ConfigError: an unknown name (with the nearest known one), or a path that leads to no generator class.
    """
    # the base of generators is abstract, and a class that can be built is asked for
    base: type[LatentGenerator] = LatentGenerator  # type: ignore[type-abstract]
    return find_class(class_name, KINDS, base, what="generator class", package=__package__)


def load_generator(
    path: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: Precision | None = None,
    **options: Any,
) -> LatentGenerator:
    """Loads a generator from a folder with config.json and weights, in eval mode.

    Args:
        path: the folder or hub id, or the folder of a saved adapter, whose generator is loaded and adapted.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one; None: the CPU.
        precision: `fp32`, `bf16`, `fp16` (on a GPU), or `auto`; None: fp32.
        options: of `from_pretrained`: `torch_dtype`, `device_map`, and those of the hub (`revision`, `subfolder`,
            `cache_dir`, `token`, `local_files_only`, `force_download`).

    Returns:
        The generator.

    Raises:
        CheckpointError: no such folder, or it holds something else.
        TypeError: an unknown option.
        ValueError: the device or the precision is unknown, not available, or given in two ways.
    """
    place, dtype = placement(device, precision, options)
    model = _load(path, options)
    if place is not None or dtype is not None:
        model.place(dtype, place)
    return model


def _load(path: str | Path, options: dict[str, Any]) -> LatentGenerator:
    if (Path(path) / ADAPTER).is_file():
        model = _load(adapter_base(Path(path)), options)
        load_adapters(model, {str(path): 1.0})
        return model
    source = Source(path, {name: options[name] for name in HUB_OPTIONS if name in options})
    config_path = source.find(CONFIG_FILE) if not source.is_remote else source.file(CONFIG_FILE)
    if config_path is None:
        raise CheckpointError(f"{source} holds no {CONFIG_FILE}: it is not a saved generator")
    refuse_own_modules(config_path)
    try:
        class_name = json.loads(config_path.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{config_path} is not the config of a generator ({error!r})") from error
    return generator_class(class_name).from_pretrained(path, **options)
