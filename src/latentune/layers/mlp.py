"""The gated MLP of transformer blocks (Shazeer, arXiv 2002.05202)."""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Literal["silu", "gelu"]


def gated_product(hidden: Tensor, activation: Activation = "silu", *, gate_first: bool = True) -> Tensor:
    """Returns activation(gate) * value, [..., W], of a hidden layer [..., 2 W] whose halves are gate and value.

    Where no gradient is recorded, `hidden` may be overwritten: that saves a twentieth of the time of an MLP on CPU.

    Args:
        hidden: gate and value side by side.
        activation: of the gate.
        gate_first: whether the first half is the gate.

    Returns:
        The product [..., W].
    """
    first, second = hidden.chunk(2, dim=-1)
    gate, value = (first, second) if gate_first else (second, first)
    if torch.is_grad_enabled():
        return (F.silu(gate) if activation == "silu" else F.gelu(gate)) * value
    return (F.silu(gate, inplace=True) if activation == "silu" else F.gelu(gate)).mul_(value)


class GatedMLP(nn.Module):
    """A linear layer to gate and value, SiLU(gate) * value, and a linear layer back to the width."""

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        bias: bool = False,
        gate_first: bool = True,
        names: tuple[str, str] = ("inner", "out"),
    ):
        """Builds both layers.

        Args:
            width: features of input and output.
            hidden: features of gate and of value.
            bias: whether the layers have a bias.
            gate_first: whether the first half of the hidden layer is the gate.
            names: of the two layers in the state dict, which saved weights fix.
        """
        super().__init__()
        self.gate_first, self.names = gate_first, names
        self.add_module(names[0], nn.Linear(width, 2 * hidden, bias=bias))
        self.add_module(names[1], nn.Linear(hidden, width, bias=bias))

    @property
    def up(self) -> nn.Linear:
        """The layer to gate and value."""
        return cast(nn.Linear, getattr(self, self.names[0]))

    @property
    def down(self) -> nn.Linear:
        """The layer back to the width."""
        return cast(nn.Linear, getattr(self, self.names[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., W] to [..., W]."""
        return cast(Tensor, self.down(gated_product(self.up(x), gate_first=self.gate_first)))
