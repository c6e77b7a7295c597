"""A semantic encoder in a Hugging Face folder or repository: its config and its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.errors import CheckpointError
from ...core.hub import fetch_file, is_hub_id
from ...core.pickles import load_state_pickle
from ..parts.official import read_safetensors

CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # the first that exists


def find_folder(source: str | Path, **options: Any) -> Path:
    """Returns the local folder of a semantic encoder, fetched where `source` is a hub id.

    Args:
        source: a folder or a hub id.
        options: of `huggingface_hub.hf_hub_download`, such as `cache_dir`.

    Returns:
        The folder.

    Raises:
        CheckpointError: the folder does not exist or cannot be fetched; the message says what is needed.
    """
    if Path(source).is_dir():
        return Path(source)
    if not is_hub_id(source):
        raise CheckpointError(f"no folder of a semantic encoder at {source}")
    try:
        config_file = fetch_file(str(source), CONFIG_FILE, **options)
        try:
            fetch_file(str(source), WEIGHT_FILES[0], **options)
        except CheckpointError:
            fetch_file(str(source), WEIGHT_FILES[1], **options)
    except CheckpointError as error:
        raise CheckpointError(
            f"the checkpoint has no semantic encoder, it needs {source}: download it where there is a network "
            f"(hf download {source} --local-dir FOLDER) and pass semantic=FOLDER. {error}"
        ) from error
    return config_file.parent


def read_folder(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Returns the content of `config.json` and the weights, as transformers names them.

    Raises:
        CheckpointError: a file is missing or cannot be read.
    """
    folder = Path(folder)
    try:
        values = json.loads((folder / CONFIG_FILE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read the semantic encoder's config {folder / CONFIG_FILE}: {error}") from error
    if not isinstance(values, Mapping):
        raise CheckpointError(f"the semantic encoder's config {folder / CONFIG_FILE} is not a mapping")
    return dict(values), _read_weights(folder)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    for path in (folder / name for name in WEIGHT_FILES):
        if path.is_file():
            return read_safetensors(path) if path.suffix == ".safetensors" else load_state_pickle(path)
    names = ", ".join(WEIGHT_FILES)
    raise CheckpointError(f"{folder} contains none of {names}: it is not the folder of a semantic encoder")
