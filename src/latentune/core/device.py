"""Where and in which precision a network runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch

from .config import nearest_hint
from .processes import Place

Precision = Literal["auto", "fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS: dict[torch.dtype, Precision] = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def pick_device(name: str) -> torch.device:
    """Returns the device called `name`; `auto` is the GPU if there is one.

    Among processes that were started together, `auto` and `cuda` are the GPU of this process, such as `cuda:1`.

    Raises:
        ValueError: the name is not a device, or the device is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: use auto, cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {name!r}: there is no CUDA device available; use cpu")
    place = Place.now()
    if name == "cuda" and place.count > 1:
        return torch.device("cuda", place.gpu(torch.cuda.device_count()))
    return device


def pick_dtype(precision: Precision, device: torch.device | str) -> torch.dtype:
    """Returns the dtype in which a network computes on `device`.

    `auto` is fp32 on the CPU, so that tokens do not depend on the machine, and on a GPU bf16 if it supports that. A CPU
    gains nothing from fp16, and oneDNN's convolutions in it do not return on some processors.

    Raises:
        ValueError: the precision is unknown, or it is fp16 on a CPU.
    """
    if precision == "auto":
        half = torch.device(device).type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if half else torch.float32
    if precision not in DTYPES:
        raise ValueError(f"unknown precision {precision!r}: {nearest_hint(precision, ['auto', *DTYPES])}")
    if precision == "fp16" and torch.device(device).type == "cpu":
        raise ValueError(
            "precision fp16 needs a GPU: on a CPU it is not faster than fp32, and some processors hang in it; "
            "use bf16 or fp32"
        )
    return DTYPES[precision]


def as_dtype(dtype: torch.dtype | str) -> torch.dtype:
    """Returns the dtype that a `torch_dtype` argument means: one of torch's, or its name, such as `float16`.

    Raises:
        ValueError: it is not a dtype of floating-point numbers.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        known = "torch.float32, torch.bfloat16 or torch.float16, or one of these names"
        raise ValueError(f"torch_dtype is {dtype!r}: pass {known}")
    return found


def mapped_device(device_map: Any) -> torch.device:
    """Returns the one device that a `device_map` argument means: a device or its name, `auto`, or {"": device}.

    Raises:
        ValueError: it divides the network, which is not done here, or the device is not available.
    """
    if isinstance(device_map, dict):
        if list(device_map) != [""]:
            raise ValueError(f"device_map names parts ({', '.join(map(str, device_map))}): a network is on one device")
        device_map = device_map[""]
    index = isinstance(device_map, int) and not isinstance(device_map, bool)
    return pick_device(f"cuda:{device_map}" if index else str(device_map))


def placement(
    device: str | torch.device | None, precision: Precision | None, options: Mapping[str, Any]
) -> tuple[torch.device | None, torch.dtype | None]:
    """Returns the device and the dtype that a loader places weights with; None leaves them as they are.

    Args:
        device: see `pick_device`.
        precision: see `pick_dtype`.
        options: of `from_pretrained`, which say the same as `device_map` and `torch_dtype`.

    Returns:
        Device and dtype.

    Raises:
        ValueError: unknown or not available, or given in both ways.
    """
    for ours, theirs, given in (("device", "device_map", device), ("precision", "torch_dtype", precision)):
        if given is not None and options.get(theirs) is not None:
            raise ValueError(f"{ours} and {theirs} say the same: give one of them")
    place = None if device is None else pick_device(str(device))
    return place, None if precision is None else pick_dtype(precision, place or "cpu")
