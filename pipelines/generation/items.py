"""Arguments of a call, as one value per item: for each prompt and repetition, in that order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ...generators.base import TrainedOn
from ...generators.conditioning.frozen.clap import is_audio
from ...generators.conditions import SECONDS
from ...tokenizers.spec import TokenizerSpec

T = TypeVar("T")
MAX_SECONDS = 86_400  # of an item: a day; more is a mistake that would fill the memory before it fails


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
        conditions: name -> a list or tuple with one value per prompt, or one value for all; a recording, (audio [C, N],
            sample rate in Hz), is one value.
        num_items: of all prompts together.
        num_per_prompt: how many of them each prompt has.

    Raises:
        ValueError: another number of values than prompts, or a condition that has an argument of its own.
    """
    found = {}
    for name, value in conditions.items():
        if name in ("text", "label", SECONDS):
            raise ValueError(f"conditions: {name} has an argument of its own (prompt, labels, duration_s)")
        if not isinstance(value, (list, tuple)) or is_audio(value):
            found[name] = [value] * num_items
        elif len(value) * num_per_prompt != num_items:
            raise ValueError(f"{num_items // num_per_prompt} prompts, but {len(value)} values of the condition {name}")
        else:
            found[name] = repeat(list(value), num_per_prompt)
    return found


def places(
    trained_on: TrainedOn, seconds: Sequence[float], start_s: float | None, total_s: float | None
) -> list[tuple[float, float]]:
    """Returns the condition `seconds` of each item: where it starts in its recording, and how long that is.

    Args:
        trained_on: facts about the training data, whose medians are the defaults.
        seconds: length of each item.
        start_s: of all items, in place of the default.
        total_s: of all recordings, in place of the default.

    Raises:
        ValueError: an item that reaches beyond its recording.
    """
    found = []
    for duration_s in seconds:
        usual_start_s, usual_total_s = trained_on.seconds_of(duration_s)
        start = usual_start_s if start_s is None else start_s
        total = max(usual_total_s, start + duration_s) if total_s is None else total_s
        if start_s is None and total_s is not None:
            start = min(start, max(0.0, total - duration_s))
        if start + duration_s > total * (1 + 1e-6):
            raise ValueError(
                f"an item of {duration_s:g} s that starts at {start:g} s does not fit into a recording of {total:g} s: "
                "ask for a longer seconds_total or an earlier seconds_start"
            )
        found.append((start, total))
    return found


def lengths_in_samples(seconds: list[float], spec: TokenizerSpec) -> list[int]:
    """Returns the samples of each item at the codec's rate; raises ValueError for no sample or more than a day."""
    if wrong := [s for s in seconds if not (0 < s <= MAX_SECONDS and round(s * spec.sample_rate) >= 1)]:
        raise ValueError(f"a duration of {wrong[0]:g} s: give a positive number of seconds, at most {MAX_SECONDS}")
    return [round(s * spec.sample_rate) for s in seconds]
