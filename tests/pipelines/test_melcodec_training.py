"""MelCodec through `train`: a warm start from the run's own first examples, exact resume, an end that can be moved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from latentune.core.settings import load_settings
from latentune.pipelines.train import TrainConfig, train, train_config
from latentune.tokenizers.load import load_tokenizer

RATE = 8000
PARTS = {"model", "ema", "optimizer.safetensors"}  # of a checkpoint


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audio")
    rng, time = np.random.default_rng(1), np.arange(RATE) / RATE
    for number in range(4):
        buzz = sum(np.sin(2 * np.pi * (100 + 40 * number) * k * time + k) / k for k in range(1, 6))
        soundfile.write(folder / f"{number}.wav", 0.1 * buzz + 0.01 * rng.standard_normal(RATE), RATE)
    return folder


def settings(audio: Path, output: Path, *overrides: str) -> TrainConfig:
    keys = [f"data.source={audio}", f"output={output}", "data.speed=[0.9, 1.1]", "data.gain_db=[-6, 0]"]
    keys += ["steps=8", "checkpoint_every=2", "log_every=1", "schedule.decay_steps=4", *overrides]
    return train_config(load_settings("train/melcodec-tiny", keys))


def test_a_killed_and_resumed_run_is_the_uninterrupted_one_bit_by_bit(runs: Any, audio: Path, tmp_path: Path) -> None:
    train(settings(audio, tmp_path / "whole"))
    runs.kill_after(3, partial(train, settings(audio, tmp_path / "run")))
    train(settings(audio, tmp_path / "run"))
    runs.assert_same(tmp_path / "whole", tmp_path / "run", PARTS)


def test_a_run_starts_from_what_the_data_give_and_its_averaged_weights_too(audio: Path, tmp_path: Path) -> None:
    train(settings(audio, tmp_path / "run", "steps=1"))
    checkpoint = next((tmp_path / "run" / "checkpoints").glob("0*"))
    for name in ("model", "ema"):
        weights = load_file(checkpoint / name / "diffusion_pytorch_model.safetensors")
        assert len(weights["front.offset"].unique()) > 10
        assert (weights["encoder.principal"] != 0).all()


def test_weights_to_start_from_are_not_measured_again(audio: Path, tmp_path: Path) -> None:
    train(settings(audio, tmp_path / "first", "steps=1"))
    start = next((tmp_path / "first" / "checkpoints").glob("0*")) / "ema"
    other = tmp_path / "other"
    other.mkdir()
    soundfile.write(other / "noise.wav", 0.3 * np.random.default_rng(2).standard_normal(RATE), RATE)
    train(settings(other, tmp_path / "second", "steps=1", f"model.init_from={start}"))
    codec = load_tokenizer(next((tmp_path / "second" / "checkpoints").glob("0*")) / "model")
    before = load_tokenizer(start)
    assert torch.equal(codec.front.offset, before.front.offset)
    assert torch.equal(codec.encoder.principal, before.encoder.principal)


def test_the_end_of_a_run_can_be_moved(runs: Any, audio: Path, tmp_path: Path) -> None:
    """A run that was stopped while its rate was constant, and then set to end earlier, is the shorter run."""
    train(settings(audio, tmp_path / "short", "steps=6"))
    runs.kill_after(1, partial(train, settings(audio, tmp_path / "run", "steps=100")))
    train(settings(audio, tmp_path / "run", "steps=6"))
    runs.assert_same(tmp_path / "short", tmp_path / "run", PARTS)
