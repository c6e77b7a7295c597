"""The figures of a run and their averages."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from accelerate import PartialState

from latentune.core.errors import MissingPackageError
from latentune.pipelines.training.environment import Processes
from latentune.pipelines.training.log import Averages, MetricsLog
from latentune.pipelines.training.trackers import Trackers, check_trackers

NONE = Trackers((), Path(), 0, {})


def test_averages_are_weighted_and_start_anew() -> None:
    averages = Averages()
    averages.add({"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, weight=3)
    averages.add({"a": torch.tensor(5.0)}, weight=1)
    assert averages.take(Processes()) == {"a": 2.0, "b": 5.0}
    averages.add({"a": torch.tensor(1.0), "b": torch.tensor(torch.nan), "c": torch.tensor(torch.nan)}, weight=3)
    averages.add({"a": torch.tensor(torch.nan), "b": torch.tensor(4.0)})
    assert averages.take(Processes()) == {"a": 1.0, "b": 4.0}, "NaN does not count as a value"
    assert averages.take(Processes()) == {}


def test_a_resumed_log_forgets_the_steps_that_are_done_again(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, NONE)
    for number in range(1, 5):
        log.write(number, {"loss": number if number > 1 else math.nan})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "lo')  # a kill cut this line
    MetricsLog(tmp_path, 2, NONE).close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": None}, {"step": 2, "loss": 2}]


def test_figures_are_logged_without_a_tracker(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0, NONE)
    log.write(1, {"loss": 2.0})
    log.audio(1, "preview", torch.zeros(1, 8), 8000)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_named_trackers_get_figures_and_audio(tmp_path: Path) -> None:
    board = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    PartialState()
    log = MetricsLog(tmp_path, 0, Trackers(("tensorboard",), tmp_path, 0, {"steps": 1}))
    log.write(1, {"loss": 2.0})
    log.audio(1, "preview", torch.zeros(1, 8), 8000)
    log.close()
    events = board.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(1, 2.0)]
    assert events.Tags()["audio"] == ["preview"]


def written(folder: Path, name: Any) -> None:
    """Figures and audio of one step, through the tracker of this name."""
    PartialState()
    log = MetricsLog(folder, 0, Trackers((name,), folder, 0, {"steps": 1}))
    log.write(1, {"loss": 2.0})
    log.audio(1, "preview", torch.linspace(-1, 1, 800)[None], 8000)
    log.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_wandb_gets_figures_and_audio_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    written(tmp_path, "wandb")
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert next(run.glob("run-*.wandb")).stat().st_size > 500
    (recording,) = (run / "files" / "media" / "audio").glob("*.wav")
    audio, rate = soundfile.read(recording)
    assert rate == 8000
    assert np.abs(audio - np.linspace(-1, 1, 800)).max() < 1e-3


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_trackio_gets_figures_and_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    written(tmp_path, "trackio")
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs("latentune", tmp_path.name)
    assert [(line["step"], line["loss"]) for line in logs if "loss" in line] == [(1, 2.0)]
    (recording,) = (tmp_path / "trackio" / "media").rglob("*.wav")
    audio, rate = soundfile.read(recording)
    assert rate == 8000
    assert np.abs(audio - np.linspace(-1, 1, 800)).max() < 1e-3


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentune.core.extras.is_installed", lambda package: False)
    with pytest.raises(MissingPackageError, match=r"the tracker wandb needs wandb: pip install 'wandb>="):
        check_trackers(("wandb",))
