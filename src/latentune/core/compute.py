"""How the networks of a command compute: where, in which number format, and compiled or not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .config import option
from .device import Precision, pick_device, pick_dtype

if TYPE_CHECKING:
    from .configured import ConfiguredModel


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """Options that all commands with networks share."""

    device: str = option("auto", "Device to compute on: auto, cpu, cuda, cuda:1 and so on.")
    precision: Precision = option(
        "auto",
        "Number format of the networks: fp32, bf16, fp16 (on a GPU), or auto, which is fp32 on a CPU and bf16 on a GPU "
        "that has it. Half precision is faster and changes the result a little.",
    )
    compile: bool = option(
        False, "Compile the networks with torch.compile. It takes minutes and pays off in long jobs."
    )

    def prepare(self, *models: ConfiguredModel) -> None:
        """Moves networks to the device, gives them their number format, and compiles them where that is asked for.

        On a GPU, matrices that stay in fp32 are multiplied as TF32 unless the precision is fp32.

        Raises:
            ValueError: the device or the precision is unknown or not available.
        """
        device = pick_device(self.device)
        if device.type == "cuda" and self.precision != "fp32":
            torch.set_float32_matmul_precision("high")
        for model in models:
            model.place(pick_dtype(self.precision, device), device)
            if self.compile:
                compile_model(model)


def compile_model(model: ConfiguredModel) -> None:
    """Compiles the parts of a network that its work consists of, in place: weights, names and methods stay.

    Raises:
        ValueError: nothing in this network can be compiled.
    """
    if not model.compiled_parts:
        raise ValueError(f"a {type(model).__name__} has no part that can be compiled: leave compile out")
    for part in model.compiled_parts:
        part.compile()
