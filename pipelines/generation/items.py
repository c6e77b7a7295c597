"""Arguments of a call, as one value per item: for each prompt and repetition, in that order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ...generators.conditions import SECONDS
from ...tokenizers.base import TokenizerSpec

T = TypeVar("T")


def repeat(items: list[T], times: int) -> list[T]:
    """Returns each item `times` times in a row; raises ValueError where that is nothing."""
    if times < 1 or not items:
        raise ValueError(f"{len(items)} prompts, {times} items of each: at least one of both is needed")
    return [item for item in items for _ in range(times)]


def per_item(seconds: float | Sequence[float], num_items: int, num_per_prompt: int) -> list[float]:
    """Returns the seconds of each item.

    Args:
        seconds: one number for all items, or one per prompt.
        num_items: of all prompts together.
        num_per_prompt: how many of them each prompt has.
    """
    if isinstance(seconds, (int, float)):
        return [float(seconds)] * num_items
    return repeat([float(s) for s in seconds], num_per_prompt)


def values_per_item(conditions: Mapping[str, Any], num_items: int, num_per_prompt: int) -> dict[str, list[Any]]:
    """Returns the values of each condition, one per item.

    Args:
        conditions: name -> a list or tuple with one value per prompt, or one value for all.
        num_items: of all prompts together.
        num_per_prompt: how many of them each prompt has.

    Raises:
        ValueError: another number of values than prompts, or a condition that has an argument of its own.
    """
    found = {}
    for name, value in conditions.items():
        if name in ("text", "label", SECONDS):
            raise ValueError(f"conditions: {name} has an argument of its own (prompt, labels, duration_s)")
        if not isinstance(value, (list, tuple)):
            found[name] = [value] * num_items
        elif len(value) * num_per_prompt != num_items:
            raise ValueError(f"{num_items // num_per_prompt} prompts, but {len(value)} values of the condition {name}")
        else:
            found[name] = repeat(list(value), num_per_prompt)
    return found


def lengths_in_samples(seconds: list[float], spec: TokenizerSpec) -> list[int]:
    """Returns the samples of each item at the codec's rate; raises ValueError for a duration of no sample."""
    if wrong := [s for s in seconds if not (math.isfinite(s) and round(s * spec.sample_rate) >= 1)]:
        raise ValueError(f"a duration of {wrong[0]} s: give a positive number of seconds")
    return [round(s * spec.sample_rate) for s in seconds]
