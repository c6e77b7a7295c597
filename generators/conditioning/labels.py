"""Class labels out of a fixed table. Shape letters: B batch, W width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...core.config import nearest_hint, option
from ..conditions import is_given
from .base import Conditioner, ConditionerConfig, Encoding


@dataclass(frozen=True, kw_only=True)
class LabelConfig(ConditionerConfig):
    """The table of labels."""

    labels: tuple[str, ...] = option(help="The class labels, in any order that then stays.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.labels or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"labels must be at least one and differ from each other, got {', '.join(self.labels)}")


class LabelConditioner(Conditioner):
    """A learned vector per label, and one for "not given"."""

    config_class = LabelConfig

    def __init__(self, width: int, config: LabelConfig):
        super().__init__(width, config)
        self.index = {label: i for i, label in enumerate(config.labels)}
        self.table = nn.Embedding(len(config.labels) + 1, width)  # the last row is the null
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def prepare(self, values: Sequence[Any]) -> dict[str, Tensor]:
        """Returns rows [B] int64 of the table.

        Raises:
            ValueError: an unknown label.
        """
        return {"row": torch.tensor([self._row(value) for value in values])}

    def forward(self, prepared: Mapping[str, Tensor], drop: Tensor) -> Encoding:
        """Returns vectors [B, W]."""
        return Encoding(vector=self.table(prepared["row"].masked_fill(drop, len(self.index))))

    def adopt(self, saved: LabelConditioner) -> list[str]:
        """Takes the vectors of the labels that both know, and that of "not given"."""
        if saved.table.weight.shape[1] != self.table.weight.shape[1]:
            return []
        with torch.no_grad():
            for label in self.index.keys() & saved.index.keys():
                self.table.weight[self.index[label]] = saved.table.weight[saved.index[label]]
            self.table.weight[-1] = saved.table.weight[-1]
        return ["table.weight"]

    def _row(self, value: Any) -> int:
        if not is_given(value):
            return len(self.index)
        label = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        if label not in self.index:
            raise ValueError(
                f"unknown label {label!r}: {nearest_hint(label, self.index)}; all: {', '.join(self.index)}"
            )
        return self.index[label]
