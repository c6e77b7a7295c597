"""Callbacks of a training run, and what training must not import."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import soundfile
from torch import nn

from latentune.core.configured import ConfiguredModel
from latentune.core.settings import load_settings
from latentune.pipelines.train import train, train_config
from latentune.pipelines.training.callbacks import is_due
from latentune.pipelines.training.log import MetricsLog

IMPORTS = """
import sys
import latentune.pipelines.encode, latentune.pipelines.sample, latentune.pipelines.train
found = [name for name in sys.modules if name.startswith("latentune.pipelines.measure")]
assert not found, found
"""


def test_evaluation_is_not_imported_by_the_other_verbs() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_an_interval_of_zero_is_never_due_and_the_last_step_always_is() -> None:
    assert [step for step in range(1, 8) if is_due(3, step, 7)] == [3, 6, 7]
    assert not any(is_due(0, step, 7) for step in range(1, 8))


class Count:
    """Writes down when it was called, and logs a figure."""

    def __init__(self, every: int):
        self.every, self.steps = every, list[int]()

    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog) -> None:
        assert isinstance(model, nn.Module)
        assert not model.training
        assert not any(weight.requires_grad for weight in model.parameters())
        self.steps.append(step)
        log.write(step, {"called": float(step)})


def test_callbacks_are_called_at_their_intervals_after_the_checkpoint_is_saved(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.3, 0.3, (12_000, 2)), 48_000)
    keys = [f"data.source={tmp_path / 'a.wav'}", f"output={tmp_path / 'run'}", "steps=5", "checkpoint_every=2"]
    often, never = Count(2), Count(0)
    saved: list[bool] = []

    class Saved(Count):
        def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog) -> None:
            saved.append((tmp_path / "run" / "checkpoints" / f"{step:08d}").is_dir())

    train(train_config(load_settings("train/codicodec-tiny", keys)), callbacks=[often, never, Saved(2)])
    assert (often.steps, never.steps, saved) == ([2, 4, 5], [], [True] * 3)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["called"] for line in lines if "called" in line] == [2, 4, 5]
