"""Generated items, with the limits of the server.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from torch import Tensor

from ..generation.options import sampling_options
from ..generation.pipeline import GenerationPipeline
from .config import HostConfig
from .jobs import Job
from .seeds import chosen_seed


@dataclass(frozen=True, kw_only=True)
class Made:
    """Audio that was generated, and what repeats it."""

    audio: Tensor  # [C, N]
    sample_rate: int  # Hz
    seed: int
    took_s: float  # on the device
    facts: dict[str, Any] = field(default_factory=dict)  # further ones, for people

    @property
    def duration_s(self) -> float:
        """Length of the audio in seconds."""
        return self.audio.shape[-1] / self.sample_rate


def checked_seconds(seconds: float | None, pipeline: GenerationPipeline, largest: float) -> float:
    """Returns the seconds to generate; None: those that the pipeline makes by default, as far as they are allowed.

    Args:
        seconds: that were asked for.
        pipeline: that generates.
        largest: number of seconds that is allowed.

    Raises:
        ValueError: not a positive number, or more than is allowed.
    """
    if seconds is None:
        return min(pipeline.defaults.duration_s, largest)
    if not (math.isfinite(seconds) and 0 < seconds <= largest):
        raise ValueError(f"seconds must be above 0 and at most {largest:g} here, got {seconds:g}")
    return float(seconds)


def checked_options(options: Mapping[str, Any], pipeline: GenerationPipeline) -> dict[str, Any]:
    """Returns options of sampling under the names of the generator's config.

    Raises:
        ConfigError: an option that the generator does not have, or a value that does not fit.
        ValueError: an option that only Python code can give.
    """
    known = fields(type(pipeline.generator).sampling_class)
    hidden = [one.name for one in known if one.metadata.get("hidden") and one.name in options]
    if hidden:
        raise ValueError(f"the option {hidden[0]} cannot be given in a request: leave it out")
    return sampling_options(options, type(pipeline.generator))


def generate(
    pipeline: GenerationPipeline,
    config: HostConfig,
    job: Job,
    *,
    prompt: str = "",
    seconds: float | None = None,
    seed: int | None = None,
    label: str | None = None,
    conditions: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Made:
    """Samples one item.

    Args:
        pipeline: that generates.
        config: the limits.
        job: whose turn on the device is waited for.
        prompt: text; an empty one asks for nothing in particular.
        seconds: of the item; by default those of the pipeline.
        seed: of all noise; None draws one.
        label: class label.
        conditions: further conditions of the generator by name.
        options: of the generator's sampling, by the names of the command line.

    Returns:
        The audio, with its seed.

    Raises:
        ValueError: what the pipeline cannot do, or is not allowed here.
        JobCancelledError, JobTimeoutError: of the job.
    """
    duration_s = checked_seconds(seconds, pipeline, config.max_seconds)
    call: dict[str, Any] = checked_options(options or {}, pipeline)
    chosen = chosen_seed(seed)
    with job.turn():
        began_s = time.perf_counter()
        output = pipeline(
            prompt,
            duration_s=duration_s,
            labels=label,
            conditions=dict(conditions or {}),
            generator=torch.Generator().manual_seed(chosen),
            callback=job.progress,
            **call,
        )
        took_s = time.perf_counter() - began_s
    return Made(audio=output.item(0), sample_rate=output.sample_rate, seed=chosen, took_s=took_s)
