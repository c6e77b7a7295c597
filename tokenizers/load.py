"""Name -> tokenizer: the only module that knows all codecs of the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.config import nearest_hint
from ..core.device import Precision, placement
from ..core.errors import CheckpointError
from ..core.hub import HUB_OPTIONS, Source, is_hub_id
from ..core.registry import find_class
from .base import AudioTokenizer
from .cards import OFFICIAL_CARDS, SHIPPED_CARDS, official_card, place_of
from .layouts import official_class, own_config

# codec class, as written in config.json -> module:Class
FAMILIES = {
    "CoDiCodec": ".codicodec:CoDiCodec",
    "TAAE": ".taae:TAAE",
    "NeuCodec": ".neucodec:NeuCodec",
    "DistillNeuCodec": ".neucodec:DistillNeuCodec",
    "MelCodec": ".melcodec:MelCodec",
}


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
    class_name: str | None = None,
    **options: Any,
) -> AudioTokenizer:
    """Loads a tokenizer in eval mode: one that this library wrote, or official weights in any of their formats.

    Args:
        name_or_path: a shipped name (`codicodec-mini`), an official name (`codicodec`) or its hub id, a folder, a file
            of official weights, or the hub id of such a folder.
        device: `cpu`, `cuda`, `cuda:1`, or `auto` for the GPU if there is one; None: the CPU.
        precision: `fp32`, `bf16`, `fp16` (on a GPU), or `auto` (fp32 on the CPU, bf16 on a GPU that supports it); None:
            fp32. Half precision is faster and changes the result: of the tokens of the shipped codecs, 72 to 99 % stay
            the same in bf16 and 95 to 99 % in fp16.
        class_name: of the codec, where official weights do not say it.
        options: of `from_pretrained`: `torch_dtype`, `device_map`, those of the hub (`revision`, `subfolder`,
            `cache_dir`, `token`, `local_files_only`, `force_download`), and those of official weights, such as
            `semantic` of NeuCodec.

    Returns:
        The tokenizer.

    Raises:
        CheckpointError: there is nothing usable at `name_or_path`.
        ConfigError: there is no such class.
        ValueError: the device or the precision is unknown, not available, or given in two ways.
        TypeError: an unknown option.
    """
    place, dtype = placement(device, precision, options)
    where = place_of(name_or_path)
    found = tokenizer_class(class_name) if class_name is not None else _class_at(where, options)
    tokenizer = found.from_pretrained(where, **options)
    if place is not None or dtype is not None:
        tokenizer.place(dtype, place)
    return tokenizer


def load_official(source: str | Path, class_name: str | None = None, **options: Any) -> AudioTokenizer:
    """Loads official weights of a codec; the same as `load_tokenizer(source, class_name=class_name, **options)`."""
    return load_tokenizer(source, class_name=class_name, **options)


def _class_at(place: str, options: Mapping[str, Any]) -> type[AudioTokenizer]:
    """Returns the class of the tokenizer at a folder, a file or a hub id."""
    if not is_hub_id(place) and not Path(place).expanduser().exists():
        hint = nearest_hint(place, [*SHIPPED_CARDS, *OFFICIAL_CARDS])
        raise CheckpointError(f"there is no file or folder {place!r}, nor a tokenizer of that name; {hint}")
    source = Source(place, {name: options[name] for name in HUB_OPTIONS if name in options})
    if (card := official_card(place)) is not None and source.is_remote:
        return tokenizer_class(card.class_name)
    if (config := own_config(source)) is not None:
        return tokenizer_class(str(config["_class_name"]))
    return tokenizer_class(official_class(source)).official_version(source)
