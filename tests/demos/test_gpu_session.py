"""The session for one GPU, on the CPU at tiny size: packed data, exact resume, weights that come back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from latentune.demos.recipes.gpu.session import main
from latentune.pipelines.data.audio.read import read_audio
from latentune.tokenizers.load import load_tokenizer

RATE = 48000
RECIPE = "train/codicodec-tiny"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six noises of two kinds, one of them held out."""
    folder, random, rows = tmp_path_factory.mktemp("audio"), np.random.default_rng(0), []
    for number in range(6):
        soundfile.write(folder / f"{number}.wav", 0.1 * random.standard_normal((2 * RATE, 2)), RATE)
        split, kind = "valid" if number == 5 else "train", "ab"[number % 2]
        rows.append({"path": f"{number}.wav", "split": split, "kind": kind, "seconds": 2.0, "title": f"n{number}"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "manifest.jsonl"


def session(work: Path, *arguments: str) -> None:
    keys = ["steps=3", "checkpoint_every=3", "compile=false", "data.where={split: train}", "data.valid_where=null"]
    main([RECIPE, str(work), "--device", "cpu", "--piece-s", "0.5", *arguments, *keys])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def whole(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one long session."""
    work = tmp_path_factory.mktemp("whole")
    session(work, "--source", str(source))
    return work


def test_sessions_of_a_step_each_give_the_weights_of_a_long_one(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "pack", tmp_path / "pack")
    for _ in range(3):
        session(tmp_path, "--minutes", "0")
    last = [work / "run/checkpoints/00000003/model" for work in (whole, tmp_path)]
    first, second = (weights(folder) for folder in last)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_weights_come_back_in_half_precision(whole: Path) -> None:
    averaged, back = weights(whole / "run/checkpoints/00000003/ema"), weights(whole / "weights")
    assert all(torch.equal(back[name], averaged[name].half()) for name in averaged)
    assert load_tokenizer(whole / "weights").spec.sample_rate == RATE


def test_another_machine_starts_from_the_weights_that_came_back(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "pack", tmp_path / "pack")
    shutil.copytree(whole / "weights", tmp_path / "weights")
    session(tmp_path, "steps=1", "optimizer.lr=1e-9")
    before, after = (weights(work / "weights") for work in (whole, tmp_path))
    assert max((before[name] - after[name]).abs().max() for name in before) < 1e-3


def test_a_pack_keeps_its_size_its_columns_and_the_sound(source: Path, tmp_path: Path) -> None:
    keys = ["data.weight_column=kind", "data.weights={a: 0.75, b: 0.25}", "data.where={split: train}"]
    arguments = ["--source", str(source), "--pack-only", "--piece-s", "0.25", "--pack-mb", "0.03"]
    main([RECIPE, str(tmp_path), *arguments, *keys, "data.valid_where={split: valid}"])
    assert not (tmp_path / "run").exists()
    rows = [json.loads(line) for line in (tmp_path / "pack/manifest.jsonl").read_text().splitlines()]
    assert sum(file.stat().st_size for file in (tmp_path / "pack").iterdir()) < 30_000
    train = [row for row in rows if row["packed"] == "train"]
    seconds = {kind: sum(row["seconds"] for row in train if row["kind"] == kind) for kind in "ab"}
    assert 2.0 < seconds["a"] / seconds["b"] < 4.5
    assert {row["title"] for row in rows if row["packed"] == "valid"} <= {"n5"}
    audio, rate = read_audio(tmp_path / "pack" / train[0]["path"])
    assert rate == RATE
    assert audio.shape == (2, RATE // 4)
    assert float(audio.square().mean().sqrt()) == pytest.approx(0.1, rel=0.2)


def test_a_codec_that_is_too_large_and_a_pack_without_audio_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name the audio with --source"):
        session(tmp_path)
    with pytest.raises(ValueError, match="more than --max-weights-mb"):
        session(tmp_path, "--source", str(source), "--max-weights-mb", "0.1")
    assert not (tmp_path / "pack").exists()
