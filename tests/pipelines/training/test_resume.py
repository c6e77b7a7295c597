"""A run that was interrupted and resumed is the run that was not; checkpoints are whole or refused."""

import logging
import os
import re
import shutil
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from latentune.core.errors import CheckpointError, InUseError, MismatchError, TrainingError
from latentune.core.locks import LOCKS
from latentune.core.settings import load_settings
from latentune.pipelines.data.checkpoints import list_checkpoints, read_progress, run_weights, unfinished
from latentune.pipelines.train import TrainConfig, train, train_config
from latentune.pipelines.training.stop import StopRequest

RATE = 48000
OPTIONS = (
    "data.gain_db=[-6, 3]",
    "data.mix_probability=0.3",
    "data.valid_examples=2",
    "validate_every=3",
    "grad_accum=2",
    "schedule={kind: cosine, warmup_steps: 2}",
    "steps=6",
    "checkpoint_every=2",
    "log_every=1",
)


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng = np.random.default_rng(1)
    for number in range(3):
        soundfile.write(folder / f"{number}.wav", rng.uniform(-0.3, 0.3, (RATE // 4, 2)), RATE)
    return folder


def settings(audio: Path, output: Path, *overrides: str) -> TrainConfig:
    keys = [f"data.source={audio}", f"data.valid_source={audio}", f"output={output}", *OPTIONS, *overrides]
    return train_config(load_settings("train/codicodec-tiny", keys))


@pytest.fixture(scope="module")
def whole(audio: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that was not interrupted."""
    output = tmp_path_factory.mktemp("runs") / "whole"
    train(settings(audio, output))
    return output


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    shutil.copytree(whole, tmp_path / "run")
    return tmp_path / "run"


PARTS = {"model", "ema", "optimizer.safetensors"}  # of a checkpoint


@pytest.mark.parametrize("last_step", [1, 5])
def test_a_killed_and_resumed_run_is_the_uninterrupted_one_bit_by_bit(
    runs: Any, audio: Path, whole: Path, tmp_path: Path, last_step: int
) -> None:
    runs.kill_after(last_step, partial(train, settings(audio, tmp_path / "run")))
    train(settings(audio, tmp_path / "run"))
    runs.assert_same(whole, tmp_path / "run", PARTS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_asked_to_stop_saves_and_tells_how_to_go_on(
    runs: Any, audio: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = signal.getsignal(number)

    def ask(done: int, total: int, figures: dict[str, float]) -> None:
        if done == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(
        TrainingError, match=rf"stopped by {number.name} after step 3; .*00000003 is saved: run the same"
    ):
        train(settings(audio, tmp_path / "run"), progress=ask)
    assert signal.getsignal(number) is before
    if number == signal.SIGTERM:
        train(settings(audio, tmp_path / "run"))
        runs.assert_same(whole, tmp_path / "run", PARTS)


def test_a_second_run_into_the_folder_is_refused_while_the_first_goes_on(audio: Path, tmp_path: Path) -> None:
    refused: list[str] = []

    def interfere(done: int, total: int, figures: dict[str, float]) -> None:
        if done == 1:
            with pytest.raises(InUseError) as found:
                train(settings(audio, tmp_path / "run"))
            refused.append(str(found.value))

    train(settings(audio, tmp_path / "run"), progress=interfere)
    (message,) = refused
    assert f"is in use: process {os.getpid()} on " in message
    assert not (tmp_path / "run" / LOCKS).exists()


@pytest.fixture
def usual_interrupt() -> Iterator[None]:
    """Ctrl-C as in a terminal: a test run in the background may have inherited that SIGINT is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("usual_interrupt")
def test_a_second_signal_acts_as_usual() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.name == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_finished_run_is_not_done_again(
    runs: Any, audio: Path, copied: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = runs.contents(copied / "checkpoints" / "00000006")
    with caplog.at_level(logging.INFO, "latentune.job"):
        summary = train(settings(audio, copied))
    assert summary.already_complete
    assert "already complete: all 6 steps are done" in caplog.text
    assert np.isnan(summary.loss)
    assert all(torch.equal(before[key], value) for key, value in runs.contents(Path(summary.checkpoint)).items())


def test_a_long_job_describes_itself(audio: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "latentune.job"):
        summary = train(settings(audio, tmp_path / "run", "steps=3", "log_every=2", "device=cpu"))
    assert not summary.already_complete
    first, *steps = [record.message for record in caplog.records if "valid_" not in record.message]
    assert re.search(r"training CoDiCodec \([\d,]+ parameters, [\d,]+ of them learn\) on 3 items, device cpu", first)
    assert "precision fp32, steps 1 to 3 of 2 examples each" in first
    assert [line.split(":")[0] for line in steps if line.startswith("step")] == ["step 2", "step 3"]
    assert all("loss" in line for line in steps if line.startswith("step"))


def test_a_run_goes_on_from_the_checkpoint_that_is_named(runs: Any, audio: Path, whole: Path, copied: Path) -> None:
    train(settings(audio, copied), resume=copied / "checkpoints" / "00000004")
    runs.assert_same(whole, copied, PARTS)


def test_the_last_checkpoints_are_kept_and_the_newest_is_pointed_at(audio: Path, copied: Path) -> None:
    assert [path.name for path in list_checkpoints(copied / "checkpoints")] == ["00000002", "00000004", "00000006"]
    for what in ("", "shares"):
        unfinished(copied / "checkpoints", 7, 99, what).mkdir()
    train(settings(audio, copied, "steps=8", "keep_checkpoints=2"))
    assert sorted(path.name for path in (copied / "checkpoints").iterdir()) == ["00000006", "00000008", "last"]
    assert (copied / "checkpoints" / "last").read_text() == "00000008\n"
    assert read_progress(copied / "checkpoints" / "00000008").samples_seen == 16


def test_what_is_left_of_a_run_that_was_replaced_goes(runs: Any, audio: Path, copied: Path) -> None:
    runs.kill_after(5, partial(train, settings(audio, copied), resume=copied / "checkpoints" / "00000002"))
    # the old checkpoint of step 6 belongs to the run that was replaced
    assert [path.name for path in list_checkpoints(copied / "checkpoints")] == ["00000002", "00000004"]


# ---------------------------------------------------------------------- damage


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ema/diffusion_pytorch_model.safetensors", "bytes instead of"),
        ("optimizer.safetensors", "bytes instead of"),
        ("state.json", "cannot be read"),
    ],
)
def test_a_truncated_checkpoint_is_refused_and_an_earlier_one_named(
    audio: Path, copied: Path, name: str, reason: str
) -> None:
    path = copied / "checkpoints" / "00000006" / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=rf"00000006 is damaged \(.*{reason}.*00000004 is whole") as caught:
        train(settings(audio, copied))
    assert "\n" not in str(caught.value)
    train(settings(audio, copied), resume=copied / "checkpoints" / "00000004")
    assert read_progress(copied / "checkpoints" / "00000006").step == 6


def test_altered_and_missing_parts_are_found(copied: Path) -> None:
    folder = copied / "checkpoints"
    altered = folder / "00000006" / "model" / "diffusion_pytorch_model.safetensors"
    content = bytearray(altered.read_bytes())
    content[-1] ^= 1
    altered.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="was altered"):
        read_progress(folder / "00000006")
    (folder / "00000004" / "optimizer.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"optimizer\.safetensors is missing.*00000002 is whole"):
        read_progress(folder / "00000004")
    (folder / "00000002" / "state.json").unlink()
    with pytest.raises(CheckpointError, match=r"has no state\.json.*no earlier whole one"):
        read_progress(folder / "00000002")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        read_progress(folder / "00000001")


def test_a_checkpoint_that_cannot_be_written_leaves_nothing_half_written(
    audio: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(path for path in copied.rglob("*") if "tensorboard" not in str(path))
    monkeypatch.setattr("latentune.core.files.os.fsync", full)
    config = settings(audio, copied, "steps=7")
    with pytest.raises(OSError, match="No space left"):
        train(config)
    assert sorted(path for path in copied.rglob("*") if "tensorboard" not in str(path)) == before
    assert read_progress(copied / "checkpoints" / "00000006").step == 6


# ---------------------------------------------------------------------- other runs


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.config.decoder_blocks=1", "other model.config"),
        ("batch_size=4", "other batch_size"),
        ("seed=1", "other seed"),
        ("data.gain_db=[-3, 3]", "other data.gain_db"),
        ("data.where={split: train}", "other data.where"),
        ("optimizer.name=adamw", "other optimizer.name"),
        ("steps=5", "has done 6 steps, more than steps=5"),
    ],
)
def test_another_run_is_not_resumed(audio: Path, whole: Path, override: str, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        train(settings(audio, whole, override))


def test_what_may_change_on_resuming_is_told(audio: Path, copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(settings(audio, copied, "steps=7", "optimizer.lr=1e-5", "log_every=7"))
    assert "saved with other model, steps, optimizer: the run continues" in caplog.text


def test_a_run_begun_anew_does_not_overwrite_another(audio: Path, whole: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a run"):
        train(settings(audio, whole), resume=None)


def test_a_folder_that_is_no_run_is_told(tmp_path: Path, audio: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        run_weights(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        train(settings(audio, tmp_path), resume=tmp_path / "nowhere")
