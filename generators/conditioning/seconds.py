"""Where in a recording an item starts and how long the recording is. Shape letters: B batch, F features, W width."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..base import Conditions
from .base import Conditioner, EncodedConditions, vector_only

NUM_FREQUENCIES = 10
LONGEST_S = 3600.0  # one hour maps to 1 on the logarithmic scale; longer is allowed


def seconds_features(seconds: Tensor) -> Tensor:
    """Seconds [B] >= 0 to Fourier features [B, 2 * NUM_FREQUENCIES] of their logarithm, float32.

    On a logarithmic scale a second more matters at 5 s and not at 500 s.
    """
    position = torch.log1p(seconds.float()) / math.log1p(LONGEST_S)
    octaves = 2.0 ** torch.arange(NUM_FREQUENCIES, device=seconds.device)
    angles = math.pi / 2 * position[:, None] * octaves
    return torch.cat([angles.sin(), angles.cos()], -1)


class SecondsConditioner(Conditioner):
    """Start and total seconds, each through its own small network; NaN is "not given"."""

    def __init__(self, width: int):
        super().__init__()

        def network() -> nn.Sequential:
            return nn.Sequential(nn.Linear(2 * NUM_FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

        self.start, self.total = network(), network()
        self.null = nn.Parameter(torch.randn(2, width) * width**-0.5)

    def forward(self, conditions: Conditions, drop_mask: Tensor) -> EncodedConditions:
        """Times to the sum [B, W] of both vectors.

        Raises:
            ValueError: a negative or infinite time.
        """
        self.refuse(conditions)
        parts = zip(
            (self.start, self.total), (conditions.seconds_start, conditions.seconds_total), self.null, strict=True
        )
        return vector_only(sum((_embed(*part, drop_mask) for part in parts), torch.zeros((), device=self.null.device)))

    def refuse(self, conditions: Conditions) -> None:
        for name in ("seconds_start", "seconds_total"):
            seconds = getattr(conditions, name)
            wrong = torch.isinf(seconds) | (seconds < 0)
            if wrong.any():
                raise ValueError(f"{name} must be 0 or more, or NaN for not given; got {seconds[wrong][0].item()}")


def _embed(network: nn.Module, seconds: Tensor, null: Tensor, drop_mask: Tensor) -> Tensor:
    seconds = seconds.to(null.device)
    absent = torch.isnan(seconds) | drop_mask.to(null.device)
    vector = network(seconds_features(torch.nan_to_num(seconds)).to(null.dtype))
    return torch.where(absent[:, None], null.to(vector.dtype), vector)
