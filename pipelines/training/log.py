"""The figures of a run: lines of `metrics.jsonl`, of the job's log, and of the trackers that the config names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.files import write_text, writing
from ...core.job_log import job_logger
from .environment import Processes
from .trackers import Trackers


class MetricsLog:
    """Writes figures to a run's folder. A resumed run drops the figures of steps that it will do again.

    Args:
        folder: of the run.
        first_step: steps that are done already.
        trackers: that get the same figures.
    """

    def __init__(self, folder: Path, first_step: int, trackers: Trackers):
        self.trackers = trackers
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(self.path, "".join(line for line in lines if _step_of(line) <= first_step))

    def write(self, step: int, figures: dict[str, float]) -> None:
        """Logs `figures` under the number of steps done. NaN and inf become null in the file."""
        plain: dict[str, Any] = {k: (v if math.isfinite(v) else None) for k, v in figures.items()}
        with writing(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **plain}) + "\n")
        self.trackers.write(step, figures)
        job_logger.info("step %d: %s", step, ", ".join(f"{name} {value:.4g}" for name, value in figures.items()))

    def audio(self, step: int, name: str, audio: Tensor, sample_rate: int) -> None:
        """Hands audio to the trackers, as mono.

        Args:
            step: number of steps done.
            name: of the recording.
            audio: [C, N].
            sample_rate: in Hz.
        """
        self.trackers.audio(step, name, audio, sample_rate)

    def close(self) -> None:
        """Closes the trackers."""
        self.trackers.close()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"] if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf  # the process was killed while it wrote this line


class Averages:
    """Running means of named scalars, which stay on the device until `take`; NaN is a scalar without a value."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}  # [2] each: weighted sum, and weight

    def add(self, values: dict[str, Tensor], weight: float = 1.0) -> None:
        """Adds one set of scalars."""
        for name, value in values.items():
            value = value.detach().float()
            pair = torch.stack([value, torch.ones_like(value)]) * weight
            pair = torch.where(value.isnan(), torch.zeros_like(pair), pair)
            self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def take(self, processes: Processes) -> dict[str, float]:
        """Returns the means so far, over all processes, and resets them; every process calls it."""
        values = torch.stack(list(self.sums.values())).tolist() if self.sums else []
        sums: dict[str, float] = {}
        weights: dict[str, float] = {}
        for found in processes.collect(dict(zip(self.sums, values, strict=True))):
            for name, (value, weight) in found.items():  # a process without an example has none
                sums[name] = sums.get(name, 0.0) + value
                weights[name] = weights.get(name, 0.0) + weight
        self.sums = {}
        return {name: value / weights[name] for name, value in sums.items() if weights[name]}
