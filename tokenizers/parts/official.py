"""Official weights: read, and renamed strictly, so that nothing is missing and nothing is left over."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from ...core.hub import Source
from ...core.pickles import load_state_pickle
from ...core.weights import describe_keys

TRANSFORMERS_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def read_weights(source: Source, *names: str) -> dict[str, Tensor]:
    """Returns the state dict of a source: of the file that it is, or else of the first of these files that it has.

    Args:
        source: where the weights are.
        names: files of safetensors, indices of sharded ones (`.json`), or pickled state dicts.

    Raises:
        CheckpointError: none of the files exists, or one cannot be read.
    """
    path = source.given or source.file(*names)
    if path.suffix == ".json":
        shards = sorted(set(read_json(path).get("weight_map", {}).values()))
        return {key: value for shard in shards for key, value in read_safetensors(source.file(shard)).items()}
    return read_safetensors(path) if path.suffix == ".safetensors" else load_state_pickle(path)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the content of a JSON file that is a mapping.

    Raises:
        CheckpointError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(content, Mapping):
        raise CheckpointError(f"cannot read {path}: it is not a mapping")
    return dict(content)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a safetensors file.

    Raises:
        CheckpointError: the file cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read {path} as safetensors ({error}): if the download was interrupted, delete it and fetch it "
            "again"
        ) from error


def renamed_state(
    official: Mapping[str, Tensor], rename: Callable[[str], str | None], ours: Mapping[str, Tensor], class_name: str
) -> dict[str, Tensor]:
    """Returns a float32 state dict with the names and shapes of `ours`; official shapes may differ in axes of length 1.

    Args:
        official: the official state dict.
        rename: returns our name of an official key; None for a tensor that is left out.
        ours: a state dict of our model.
        class_name: of the codec, for messages.

    Returns:
        The renamed state dict.

    Raises:
        CheckpointError: keys are missing, unexpected or of another size (named).
    """
    converted: dict[str, Tensor] = {}
    unexpected = []
    for key, tensor in official.items():
        name = rename(key)
        if name is None:
            continue
        if name not in ours:
            unexpected.append(key)
        elif tensor.squeeze().shape != ours[name].squeeze().shape:
            raise CheckpointError(
                f"official tensor {key} has shape {tuple(tensor.shape)}, but the config has "
                f"{tuple(ours[name].shape)}: is it a checkpoint of another size?"
            )
        else:
            converted[name] = tensor.reshape(ours[name].shape).to(torch.float32)
    missing = sorted(set(ours) - set(converted))
    if missing or unexpected:
        raise CheckpointError(
            f"not an official {class_name} checkpoint of this config: {describe_keys('missing', missing)}, "
            f"{describe_keys('unexpected', unexpected)}"
        )
    return converted
