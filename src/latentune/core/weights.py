"""Names and values of a network's weights: their hash, and lists of their names for messages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def hash_weights(network: nn.Module) -> str:
    """Returns the hex SHA-256 of names and values of a network's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def hash_tensors(tensors: Mapping[str, Tensor], text: str = "") -> str:
    """Returns the hex SHA-256 of a text, and of names and values of tensors as if all floats were float32."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        value = tensor.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
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


def is_constant(stored: Tensor, expected: Tensor, *, rtol: float = 1e-5, atol: float = 0.0) -> bool:
    """Returns whether a stored tensor holds the expected float32 values, as far as its dtype can.

    Args:
        stored: of any float dtype and of the shape of `expected`.
        expected: float32.
        rtol: relative difference that float32 may have.
        atol: absolute difference that float32 may have.
    """
    limits = torch.finfo(stored.dtype)
    spacing = limits.smallest_normal * limits.eps  # of the smallest numbers
    return torch.allclose(stored.float(), expected, rtol=max(rtol, limits.eps), atol=max(atol, spacing))
