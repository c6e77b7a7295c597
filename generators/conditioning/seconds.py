"""Where in a recording an item starts and how long the recording is. Shape letters: B batch, W width."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import Conditioner, ConditionerConfig, Encoding
from .fourier import embed_number, feature_network

NAMES = ("seconds_start", "seconds_total")
LONGEST_S = 3600.0  # one hour maps to 1 on the logarithmic scale; longer is allowed


class SecondsConditioner(Conditioner):
    """Start and total seconds, each through its own small network; NaN is "not given"."""

    def __init__(self, width: int, config: ConditionerConfig):
        super().__init__(width, config)
        self.start, self.total = feature_network(width), feature_network(width)
        self.null = nn.Parameter(torch.randn(2, width) * width**-0.5)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns `start` and `total` [B] float32 of pairs of seconds, NaN where they are not given.

        Raises:
            ValueError: a value that is not a pair, or a negative or infinite time.
        """
        pairs = [_pair(value) for value in values]
        tensors = [torch.tensor([pair[i] for pair in pairs], dtype=torch.float32) for i in range(2)]
        for name, seconds in zip(NAMES, tensors, strict=True):
            wrong = torch.isinf(seconds) | (seconds < 0)
            if wrong.any():
                raise ValueError(f"{name} must be 0 or more, or NaN for not given; got {seconds[wrong][0].item()}")
        return {"start": tensors[0], "total": tensors[1]}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns the sum [B, W] of both vectors."""
        start, total = (
            _embed(network, prepared[name], null, drop)
            for network, name, null in zip((self.start, self.total), ("start", "total"), self.null, strict=True)
        )
        return Encoding(vector=start + total)

    def later(self, value: Any, seconds: float) -> Any:
        start, total = _pair(value)
        return start + seconds, total


def _embed(network: nn.Module, seconds: Tensor, null: Tensor, drop: Tensor) -> Tensor:
    return embed_number(network, log_position(torch.nan_to_num(seconds)), torch.isnan(seconds) | drop, null)


def log_position(seconds: Tensor) -> Tensor:
    """Returns the place of seconds [B] >= 0 on a scale where a second matters more at 5 s than at 500 s."""
    return torch.log1p(seconds.float()) / math.log1p(LONGEST_S)


def _pair(value: Any) -> tuple[float, float]:
    if value is None:
        return math.nan, math.nan
    try:
        start, total = value
        return (math.nan if start is None else float(start)), (math.nan if total is None else float(total))
    except (TypeError, ValueError) as error:
        raise ValueError(f"seconds are a pair (start, total), got {value!r}") from error
