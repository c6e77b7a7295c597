"""Checkpoints in transformers' format, local or on a hub: read strictly, or one clear error."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....core.configured import describe_keys
from ....core.errors import CheckpointError


def load_pretrained(model_class: Any, source: str | Path, what: str, *, may_lack: tuple[str, ...] = ()) -> Any:
    """Loads a model strictly; weights of other parts of the checkpoint are not read.

    Args:
        model_class: of transformers.
        source: folder or hub id.
        what: the part that is loaded, for messages.
        may_lack: beginnings of the names of weights that need not be there.

    Returns:
        The model.

    Raises:
        CheckpointError: nothing there, unreadable, or weights of this part that are missing or of another shape.
    """
    try:
        network, info = model_class.from_pretrained(str(source), output_loading_info=True)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise CheckpointError(f"cannot load {what} from {source}: {reason}") from error
    missing = sorted({*info["missing_keys"], *(str(key[0]) for key in info.get("mismatched_keys") or ())})
    missing = [key for key in missing if not key.startswith(may_lack)]
    if missing:
        raise CheckpointError(f"{source} holds no {what}: {describe_keys('missing', missing)}")
    return network


def hash_weights(network: nn.Module) -> str:
    """Hex SHA-256 of names and values of a network's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
