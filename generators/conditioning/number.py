"""Any number as a condition, such as beats per minute. Shape letters: B batch, W width."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.config import option
from ..conditions import is_given
from .base import Conditioner, ConditionerConfig, Encoding
from .fourier import embed_number, feature_network

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NumberConfig(ConditionerConfig):
    """The range of the numbers, and their scale."""

    lowest: float = option(help="Lower end of the range; numbers below it are allowed and logged.")
    highest: float = option(help="Upper end of the range; numbers above it are allowed and logged.")
    log: bool = option(False, "Use a logarithmic scale, on which equal ratios are equally far apart.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.lowest) and math.isfinite(self.highest) and self.lowest < self.highest):
            raise ValueError(f"lowest must be below highest, got {self.lowest} and {self.highest}")
        if self.log and self.lowest <= 0:
            raise ValueError(f"a logarithmic scale needs lowest above 0, got {self.lowest}")


class NumberConditioner(Conditioner):
    """Fourier features of the number's place in its range, through a small network, and a null for "not given"."""

    config_class = NumberConfig

    def __init__(self, width: int, config: NumberConfig):
        super().__init__(width, config)
        self.config = config
        self.num_outside = 0  # values outside the range since this object was made
        self.network = feature_network(width)
        self.null = nn.Parameter(torch.randn(width) * width**-0.5)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns `position` [B] float32, 0 at the lowest number and 1 at the highest, NaN where it is not given.

        Raises:
            ValueError: a value that is not a number, infinity, or a number that a logarithmic scale does not have.
        """
        numbers = [self._number(value) for value in values]
        outside = [n for n in numbers if not math.isnan(n) and not self.config.lowest <= n <= self.config.highest]
        if outside and not self.num_outside:
            logger.warning(
                "the number %g lies outside the range of its condition, %g to %g; more of them are counted, not logged",
                outside[0],
                self.config.lowest,
                self.config.highest,
            )
        self.num_outside += len(outside)
        return {"position": torch.tensor([self._position(number) for number in numbers], dtype=torch.float32)}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns vectors [B, W]."""
        position = prepared["position"]
        absent = torch.isnan(position) | drop
        return Encoding(vector=embed_number(self.network, torch.nan_to_num(position), absent, self.null))

    def _number(self, value: Any) -> float:
        if not is_given(value):
            return math.nan
        try:
            number = math.inf if isinstance(value, bool) else float(value)  # a truth value is not a number either
        except (TypeError, ValueError):
            number = math.inf
        if math.isinf(number):
            raise ValueError(f"{value!r} is not a finite number")
        if self.config.log and number <= 0:
            raise ValueError(f"{value!r} is not above 0, which its logarithmic scale needs")
        return number

    def _position(self, number: float) -> float:
        low, high = self.config.lowest, self.config.highest
        if self.config.log:
            return math.log(number / low) / math.log(high / low)
        return (number - low) / (high - low)
