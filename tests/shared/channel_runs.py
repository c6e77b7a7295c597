"""Short channel experiments for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from latentune.pipelines.measure.channel import RobustnessConfig, run_robustness
from latentune.pipelines.measure.results import csv_text
from latentune.pipelines.measure.results.findings import Findings


def run(tokenizer: Any, audio: Path, **settings: Any) -> Findings:
    settings = {"p": (0.01, 0.1), "metrics": (), "device": "cpu", **settings}
    return run_robustness(RobustnessConfig(audio=str(audio), **settings), tokenizer)


def mean(result: Findings, system: str, p: float, figure: str) -> float | None:
    (key,) = [key for key, facts in result.table.systems.items() if (facts["system"], facts["p"]) == (system, p)]
    return result.table.estimate(key, figure).value


def text_of(result: Findings) -> str:
    return csv_text(result.columns, result.rows)
