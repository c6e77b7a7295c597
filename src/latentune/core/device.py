"""Where and in which precision a network runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def pick_device(name: str) -> torch.device:
    """Returns the device called `name`; `auto` is the GPU if there is one.

    Raises:
        ValueError: the name is not a device, or the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"no device {name!r}: use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: no CUDA device is available here; use cpu")
    return device


def move_model(model: Any, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> None:
    """Move a network in place.

    Args:
        model: the network, an `nn.Module` (typed `Any`: the lazy imports of diffusers hide it from type checkers).
        device: where it goes; None leaves it where it is.
        dtype: of its floating-point weights; None leaves it as it is.
    """
    # not ModelMixin.to: given a dtype, it warns of modules to be kept in float32 even if there are none
    nn.Module.to(model, device=device, dtype=dtype)
