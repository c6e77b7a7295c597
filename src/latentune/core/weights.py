"""Names and values of a network's weights: their hash, and lists of their names for messages."""

from __future__ import annotations

import hashlib

import torch
from torch import nn


def hash_weights(network: nn.Module) -> str:
    """Returns the hex SHA-256 of names and values of a network's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def describe_keys(kind: str, keys: list[str], most: int = 8) -> str:
    """Returns a short list of state-dict keys for an error message, such as `missing 3 (a, b, c)`.

    Args:
        kind: the kind of the keys, which begins the text.
        keys: all of them.
        most: how many are named.

    Returns:
        The text.
    """
    if not keys:
        return f"{kind} none"
    more = f", and {len(keys) - most} more" if len(keys) > most else ""
    return f"{kind} {len(keys)} ({', '.join(keys[:most])}{more})"
