"""Name -> tokenizer: the only module that knows all codecs of the package."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from ..core.device import Precision, move_model, pick_device, pick_dtype
from ..core.errors import CheckpointError
from ..core.hub import HUB_OPTIONS, fetch_file, is_hub_id
from ..core.registry import find_class
from .base import AudioTokenizer
from .cards import OFFICIAL_CARDS, SHIPPED_CARDS

# codec class, as written in config.json -> module:Class
FAMILIES = {
    "CoDiCodec": ".codicodec:CoDiCodec",
    "TAAE": ".taae:TAAE",
    "NeuCodec": ".neucodec:NeuCodec",
    "DistillNeuCodec": ".neucodec:DistillNeuCodec",
    "MelCodec": ".melcodec:MelCodec",
}
# shipped name -> folder with config.json and weights, inside the package
SHIPPED = {name: card.place for name, card in SHIPPED_CARDS.items()}
# official name -> (class, hub id of weights in the official format)
OFFICIAL = {name: (card.class_name, card.place) for name, card in OFFICIAL_CARDS.items()}
# a file next to official weights, or the weights themselves -> class, which distinguishes its versions itself
OFFICIAL_FILES = {"codicodec.pt": "CoDiCodec", "model_config.json": "TAAE", "pytorch_model.bin": "NeuCodec"}


def tokenizer_class(class_name: str) -> type[AudioTokenizer]:
    """Returns the codec class called `class_name`, a name in `FAMILIES` or `module:Class`.

    Raises:
        ConfigError: an unknown name (with the nearest known one), or a path that leads to no codec class.
    """
    # the base is abstract, but the class that is found can be built
    base: type[AudioTokenizer] = AudioTokenizer  # type: ignore[type-abstract]
    return find_class(class_name, FAMILIES, base, what="tokenizer class", package=__package__)


def load_tokenizer(
    name_or_path: str | Path,
    *,
    device: str | torch.device | None = None,
    precision: Precision | None = None,
    **options: Any,
) -> AudioTokenizer:
    """Loads a tokenizer in eval mode.

    Args:
        name_or_path: a shipped name (`codicodec-mini`), an official name (`codicodec`, fetched from its hub), a local
            folder with config.json and weights, or a hub id of such a folder.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one; None: the CPU.
        precision: `fp32`, `bf16`, `fp16`, or `auto` (fp32 on the CPU, bf16 on a GPU that supports it); None: as the
            weights were saved. Half precision is faster and changes the result: of the tokens of the shipped codecs,
            72 to 99 % stay the same in bf16 and 95 to 99 % in fp16.
        options: passed to `from_pretrained` (`revision`, `local_files_only`, ...).

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: there is nothing usable at `name_or_path`.
        ValueError: the device or the precision is unknown or not available.
    """
    place = None if device is None else pick_device(str(device))
    dtype = None if precision is None else pick_dtype(precision, place or "cpu")
    tokenizer = _load(str(name_or_path), **options)
    if place is not None or dtype is not None:
        move_model(tokenizer, place, dtype)
    return tokenizer


def _load(name: str, **options: Any) -> AudioTokenizer:
    if name in SHIPPED:
        name = str(files("latentune") / SHIPPED[name])
    elif name in OFFICIAL:
        return load_official(name, **options)
    found = {key: value for key, value in options.items() if key in HUB_OPTIONS}
    return _class_at(name, **found).from_pretrained(name, **options)


def load_official(source: str | Path, class_name: str | None = None, **options: Any) -> AudioTokenizer:
    """Loads weights in a codec's official format.

    Args:
        source: an official name or its hub id, or a file or folder of official weights.
        class_name: of the codec, where it does not follow from the source.
        options: of the class's `from_official`, such as `revision`, or `semantic` of NeuCodec.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: nothing usable is there, or nothing that identifies the codec.
        ConfigError: there is no such class.
    """
    path = Path(source)
    for name, (family, hub_id) in OFFICIAL.items():
        if str(source) in (name, hub_id):
            source, class_name = hub_id, class_name or family
    if class_name is not None:
        return tokenizer_class(class_name).from_official(source, **options)
    folder = path if path.is_dir() else path.parent
    for file, family in OFFICIAL_FILES.items():
        if path.exists() and (folder / file).is_file():
            return tokenizer_class(family).official_version(path).from_official(source, **options)
    if not path.exists() and not is_hub_id(source):
        raise CheckpointError(
            f"there is neither a file or folder at {source} nor a codec of that name: {', '.join(OFFICIAL)}"
        )
    raise CheckpointError(
        f"the codec of {source} cannot be identified: pass a folder with {' or '.join(OFFICIAL_FILES)}, one of "
        f"{', '.join(OFFICIAL)}, or the name of its class ({', '.join(FAMILIES)})"
    )


def _class_at(path: str, **hub_options: Any) -> type[AudioTokenizer]:
    """Returns the class that the config.json at a folder or hub id names."""
    if Path(path).is_dir():
        config_path = Path(path) / "config.json"
        if not config_path.is_file():
            message = f"{path} has no config.json: it is not a saved tokenizer"
            if any((Path(path) / name).is_file() for name in OFFICIAL_FILES):
                message += f", but has official weights: `latentune convert {path} OUTPUT` converts them"
            raise CheckpointError(message)
    elif is_hub_id(path):
        config_path = fetch_file(path, "config.json", **hub_options)
    else:
        known = ", ".join(sorted([*SHIPPED, *OFFICIAL]))
        raise CheckpointError(f"unknown tokenizer {path!r}: pass a folder, a hub id (owner/name) or one of {known}")
    try:
        class_name = json.loads(config_path.read_text())["_class_name"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{config_path} is not the config of a tokenizer ({error!r})") from error
    return tokenizer_class(class_name)
