"""Official weights: read, and renamed strictly, so that nothing is missing and nothing is left over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...core.configured import describe_keys
from ...core.errors import CheckpointError


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
        raise CheckpointError(f"cannot read {path} as safetensors: {error}") from error


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
