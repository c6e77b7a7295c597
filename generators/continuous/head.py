"""The small network that draws a chunk of latents, given the trunk's hidden state.

Shape letters: C values of a chunk, W width of the trunk, H width of the head.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..parts.times import TIME_FEATURES, time_features


class HeadBlock(nn.Module):
    """A residual MLP whose input is scaled and shifted by the condition, and its output gated (AdaLN-zero)."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.to_modulation = nn.Linear(width, 3 * width)
        self.network = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.zeros_(self.to_modulation.weight)
        nn.init.zeros_(self.to_modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Maps x [..., H] under a condition [..., H] to [..., H]."""
        shift, scale, gate = self.to_modulation(condition).chunk(3, -1)
        changed: Tensor = self.network(self.norm(x) * (1 + scale) + shift)
        out: Tensor = x + gate * changed
        return out


class FlowHead(nn.Module):
    """The velocity `noise - data` of a chunk, as the MLP of Li et al. (arXiv 2406.11838)."""

    def __init__(self, values: int, trunk_width: int, width: int, depth: int):
        super().__init__()
        self.from_values = nn.Linear(values, width)
        self.from_hidden = nn.Linear(trunk_width, width)
        self.from_time = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(HeadBlock(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.final_modulation = nn.Linear(width, 2 * width)
        self.to_velocity = nn.Linear(width, values)
        for zero in (self.final_modulation, self.to_velocity):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    def forward(self, noisy: Tensor, t: Tensor, hidden: Tensor) -> Tensor:
        """Returns the velocity [..., C].

        Args:
            noisy: [..., C] values with noise.
            t: [...] times, 1 being pure noise.
            hidden: [..., W] of the trunk, in a shape that broadcasts.
        """
        dtype = self.to_velocity.weight.dtype
        time = self.from_time(time_features(t).to(dtype))
        condition = F.silu(time + self.from_hidden(hidden))
        x = self.from_values(noisy.to(dtype))
        for block in self.blocks:
            x = block(x, condition)
        shift, scale = self.final_modulation(condition).chunk(2, -1)
        velocity: Tensor = self.to_velocity(self.norm(x) * (1 + scale) + shift)
        return velocity
