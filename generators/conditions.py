"""Conditions: what is asked of each item, as an open mapping of names to values.

Shape letters: B batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SECONDS = "seconds"  # the condition that every item has: (start in its recording, length of the recording), in seconds


@dataclass(kw_only=True)
class Conditions:
    """Values by the name of the condition, one entry per item; None, an empty text or NaN means "not given".

    The names are those of a generator's conditioners, such as `text`, `label` or `bpm`. A value of `seconds` is a pair:
    where in its recording the item starts, and how long the whole recording is.

    Raises:
        ValueError: lists of different lengths.
    """

    values: dict[str, list[Any]]

    def __post_init__(self) -> None:
        self.values = {name: list(values) for name, values in self.values.items()}
        sizes = {name: len(values) for name, values in self.values.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"conditions need one entry per item, got {sizes}")

    def __len__(self) -> int:
        return max((len(values) for values in self.values.values()), default=0)

    @classmethod
    def of(
        cls,
        text: Sequence[str],
        seconds_total: float | Sequence[float],
        labels: Sequence[str | None] | None = None,
        seconds_start: float = 0.0,
        **values: Sequence[Any],
    ) -> Conditions:
        """Returns conditions for sampling, with one prompt per item.

        Args:
            text: prompt of each item; an empty one asks for nothing in particular.
            seconds_total: length of the recording that each item is, or is a part of: one for all, or one per item.
            labels: class label of each item, the condition `label`.
            seconds_start: where in that recording every item starts.
            values: further conditions, each with one value per item.

        Raises:
            ValueError: numbers of prompts, durations and other values that differ.
        """
        total = [seconds_total] * len(text) if isinstance(seconds_total, (int, float)) else list(seconds_total)
        if len(total) != len(text) or (labels is not None and len(labels) != len(text)):
            raise ValueError(f"{len(text)} prompts, but {len(total)} durations and {len(labels or text)} labels")
        given: dict[str, Sequence[Any]] = {"text": text, SECONDS: [(float(seconds_start), float(t)) for t in total]}
        if labels is not None:
            given["label"] = labels
        return cls(values={name: list(value) for name, value in {**given, **values}.items()})

    def replaced(self, **values: Sequence[Any]) -> Conditions:
        """Returns the same conditions with other values of these names."""
        return Conditions(values={**self.values, **{name: list(value) for name, value in values.items()}})

    def followed_by(self, other: Conditions) -> Conditions:
        """Returns the items of both, which must have the same conditions."""
        return Conditions(values={name: [*values, *other.values[name]] for name, values in self.values.items()})

    def rows(self, rows: Sequence[int]) -> Conditions:
        """Returns the conditions of some items, by their numbers."""
        return Conditions(values={name: [values[row] for row in rows] for name, values in self.values.items()})

    def to(self, device: torch.device | str) -> Conditions:
        """Returns the conditions themselves: values stay on the host."""
        return self


@dataclass(kw_only=True)
class PreparedConditions:
    """Conditions as tensors, which is all that a network sees of them."""

    tensors: dict[str, dict[str, Tensor]]  # condition -> what its conditioner prepared, [B, ...] each
    size: int  # B

    def __len__(self) -> int:
        return self.size

    def rows(self, rows: slice) -> PreparedConditions:
        """Returns the conditions of some items."""
        tensors = {name: {key: x[rows] for key, x in part.items()} for name, part in self.tensors.items()}
        return PreparedConditions(tensors=tensors, size=len(range(self.size)[rows]))

    def to(self, device: torch.device | str) -> PreparedConditions:
        """Returns the same conditions with their tensors on `device`."""

        def moved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}

        return PreparedConditions(tensors={name: moved(t) for name, t in self.tensors.items()}, size=self.size)


def is_given(value: Any) -> bool:
    """Returns whether a value asks for anything: not None, a blank text, NaN, or a list of nothing but these."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, float):
        return not math.isnan(value)
    if isinstance(value, (list, tuple)):
        return any(is_given(item) for item in value)
    return value is not None
