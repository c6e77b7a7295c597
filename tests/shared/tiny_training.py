"""A generator trained for a few steps, as the tests of all steps with each codec need one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from latentune.core.settings import load_settings
from latentune.pipelines.train import train, train_config


def train_tiny(config: str, dataset: Path, tokenizer: Path, output: Path, *, steps: int, **keys: Any) -> None:
    """Run `train/CONFIG`, with dots of keys as double underscores; the loss must have fallen."""
    keys |= {
        "data__source": dataset,
        "data__tokenizer": tokenizer,
        "output": output,
        "data__crop_s": 0.1,
        "steps": steps,
        "log_every": 1,
        "schedule__warmup_steps": 1,
        "optimizer__lr": 3e-3,
    }
    overrides = [f"{key.replace('__', '.')}={value}" for key, value in keys.items()]
    train(train_config(load_settings(f"train/{config}", overrides)))
    rows = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-steps // 4 :]) < np.mean(losses[: steps // 4])
