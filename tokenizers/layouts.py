"""Layouts of weights at a source: a tokenizer that `save_pretrained` wrote, or official weights of some codec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..core.errors import CheckpointError
from ..core.hub import Source
from ..core.pickles import load_pickle
from ..core.registry import refuse_own_modules

CONFIG_FILE = "config.json"
# a file that only one codec has next to its official weights, or as those -> class, which distinguishes its versions
OFFICIAL_FILES = {"codicodec.pt": "CoDiCodec", "model_config.json": "TAAE", "pytorch_model.bin": "NeuCodec"}
MODEL_TYPES = {"neucodec": "NeuCodec"}  # in a config.json of transformers -> class
OWN_WEIGHTS = "diffusion_pytorch_model"  # beginning of the file name of weights that `save_pretrained` wrote
NOT_OFFICIAL = f"none of the files of official weights ({', '.join(OFFICIAL_FILES)}): pass a folder that has, or a name"
CONTENT_KEYS = {"gen_state_dict": "CoDiCodec", "generator.head.out.weight": "NeuCodec"}  # of a pickle -> class


def own_config(source: Source) -> dict[str, Any] | None:
    """Returns the content of a config.json that `save_pretrained` wrote; None where there is no such file.

    Raises:
        CheckpointError: there is a config.json that cannot be read.
    """
    if source.given is not None and not source.given.name.startswith(OWN_WEIGHTS):
        return None  # a file of official weights, whatever lies next to it
    content = _config(source)
    return content if content is not None and "_class_name" in content else None


def official_class(source: Source) -> str:
    """Returns the name of the codec that official weights are of, by their files and what is in them.

    Raises:
        CheckpointError: nothing identifies the codec.
    """
    if source.given is not None and (found := _class_of_file(source.given)) is not None:
        return found
    config = _config(source)
    if config is not None and (found := MODEL_TYPES.get(str(config.get("model_type")))) is not None:
        return found
    for name, family in OFFICIAL_FILES.items():
        if source.find(name) is not None:
            return family
    if config is not None:
        raise CheckpointError(f"{source} has a {CONFIG_FILE} that is not the config of a tokenizer, and {NOT_OFFICIAL}")
    if source.is_remote:
        source.file(CONFIG_FILE)  # raises, and says why
    raise CheckpointError(f"{source} has no {CONFIG_FILE} of a saved tokenizer, and {NOT_OFFICIAL}")


def _config(source: Source) -> dict[str, Any] | None:
    path = source.find(CONFIG_FILE)
    if path is None:
        return None
    refuse_own_modules(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not the config of a tokenizer ({error!r})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} is not the config of a tokenizer (it is not a mapping)")
    return content


def _class_of_file(path: Path) -> str | None:
    """Returns the class of a file of weights by its name or its content; None where neither says it."""
    if path.name in OFFICIAL_FILES:
        return OFFICIAL_FILES[path.name]
    if path.suffix == ".safetensors":
        return None
    content = load_pickle(path, mapped=True)
    keys = content.keys() if isinstance(content, dict) else ()
    return next((family for key, family in CONTENT_KEYS.items() if key in keys), None)
