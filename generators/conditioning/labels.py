"""Class labels out of a fixed table. Shape letters: B batch, W width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ...core.config import nearest_hint
from ..base import Conditions
from .base import Conditioner, EncodedConditions, vector_only


class LabelConditioner(Conditioner):
    """A learned vector for each label, and one for "not given"."""

    def __init__(self, width: int, labels: Sequence[str]):
        super().__init__()
        self.index = {label: i for i, label in enumerate(labels)}
        self.table = nn.Embedding(len(labels) + 1, width)  # the last row is the null
        nn.init.normal_(self.table.weight, std=width**-0.5)

    def forward(self, conditions: Conditions, drop_mask: Tensor) -> EncodedConditions:
        """Labels to vectors [B, W].

        Raises:
            ValueError: an unknown label.
        """
        self.refuse(conditions)
        null = len(self.index)
        rows = torch.tensor([null if label is None else self.index[label] for label in conditions.labels])
        rows = rows.to(self.table.weight.device)
        return vector_only(self.table(rows.masked_fill(drop_mask.to(rows.device), null)))

    def refuse(self, conditions: Conditions) -> None:
        for label in conditions.labels:
            if label is not None and label not in self.index:
                raise ValueError(
                    f"unknown label {label!r}: {nearest_hint(label, self.index)}; all: {', '.join(self.index)}"
                )
