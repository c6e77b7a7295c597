"""A numeric column of the dataset as a condition: trained, sampled, and asked for on the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import third_party
import torch
from click.testing import CliRunner

from latentune.core.errors import ConfigError, DatasetError
from latentune.core.settings import load_settings
from latentune.pipelines.commands.main import app
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.train import train, train_config

RATE = 8000
BPM = {"kind": "number", "lowest": 60.0, "highest": 180.0}
TEMPI = (60, 100, 140, 180)


def level(bpm: float) -> float:
    """The constant value of the audio of this tempo."""
    return (bpm - 120) / 100


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    third_party.LinearCodec(third_party.LinearConfig(latent_dim=2)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Audio, and so latents, that the tempo alone determines; one item has none."""
    folder = tmp_path_factory.mktemp("data")
    rows: list[dict[str, Any]] = []
    for bpm in TEMPI:
        soundfile.write(folder / f"{bpm}.wav", np.full(RATE // 4, level(bpm)), RATE, subtype="FLOAT")
        rows.append({"path": f"{bpm}.wav", "bpm": bpm, "mood": "calm" if bpm < 120 else "lively"})
    soundfile.write(folder / "none.wav", np.full(RATE // 4, level(120.1)), RATE, subtype="FLOAT")
    rows.append({"path": "none.wav", "mood": "calm"})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    output = folder / "latents"
    encode_dataset(EncodeConfig(source=str(folder / "manifest.jsonl"), output=str(output), tokenizer=str(codec)))
    return output


def run(dataset: Path, codec: Path, output: Path, conditioners: dict[str, Any], **keys: Any) -> None:
    given = {
        "model": {"config": {"conditioning": {"conditioners": {"text": None, **conditioners}}}},
        "data": {"source": str(dataset), "tokenizer": str(codec), "crop_s": 0.05, **keys.pop("data", {})},
        "output": str(output),
        "optimizer": {"lr": 3e-3},
        "device": "cpu",
        **keys,
    }
    train(train_config(load_settings("train/dit-tiny", (), given)))


@pytest.fixture(scope="module")
def trained(dataset: Path, codec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bpm") / "run"
    run(dataset, codec, output, {"bpm": BPM}, steps=200, batch_size=15)
    return output


@pytest.fixture(scope="module")
def pipe(trained: Path) -> GenerationPipeline:
    return load_pipeline(trained)


def test_what_is_sampled_follows_the_number(pipe: GenerationPipeline, trained: Path) -> None:
    out = pipe(
        [""] * len(TEMPI),
        duration_s=0.05,
        conditions={"bpm": list(TEMPI)},
        generator=torch.Generator().manual_seed(0),
        num_inference_steps=20,
    )
    wanted = pipe.tokenizer.encode(
        torch.tensor([level(bpm) for bpm in TEMPI]).view(-1, 1, 1).expand(-1, 1, RATE // 20), RATE
    ).latents.mean(1)
    assert out.latents is not None
    found = out.latents.mean(1)
    nearest = torch.cdist(found, wanted).argmin(1)
    assert nearest.tolist() == list(range(len(TEMPI)))
    assert pipe.generator.trained_on.conditions == ("bpm", "seconds")
    assert pipe.generator.trained_on.crop_s == pytest.approx(0.05)
    assert pipe.generator.trained_on.seconds_total == pytest.approx((0.25, 0.25, 0.25))


def test_the_command_line_takes_the_number(trained: Path, tmp_path: Path) -> None:
    def sample(output: str, *arguments: str, code: int = 0) -> str:
        common = ["sample", str(trained), str(tmp_path / output), "--seconds", "0.05", "--steps", "4"]
        result = CliRunner().invoke(app, [*common, "spectrograms=false", "device=cpu", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    for bpm in ("60", "180"):
        sample(bpm, "--condition", f"bpm={bpm}")
    slow, fast = (soundfile.read(tmp_path / bpm / "000_sample.wav")[0].mean() for bpm in ("60", "180"))
    assert slow != pytest.approx(fast, abs=1e-3)
    record = json.loads((tmp_path / "60" / "000_sample.json").read_text())
    assert record["call"]["conditions"] == {"bpm": [60]}
    assert "'fast' is not a finite number" in sample("x", "--condition", "bpm=fast", code=1)
    assert "made without tempo: leave it out (its conditions: bpm, seconds)" in sample(
        "x", "--condition", "tempo=3", code=1
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("conditioners", "data", "error", "message"),
    [
        ({"tempo": BPM}, {}, ConfigError, r"no column 'tempo' .*\(its columns: bpm, mood\)"),
        ({"bmp": BPM}, {}, ConfigError, r"name one with data\.conditions\.bmp=COLUMN"),
        ({"bpm": BPM}, {"conditions": {"bpm": "speed"}}, ConfigError, "no column 'speed' for the condition bpm"),
        ({"bpm": BPM}, {"conditions": {"tempo": "bpm"}}, ConfigError, "the generator has no condition 'tempo'"),
        ({"bpm": BPM}, {"conditions": {"seconds": "bpm"}}, ConfigError, "seconds come from the items themselves"),
        (
            {"text": {"kind": "bytes", "heads": 2}},
            {"conditions": {"text": "caption"}},
            ConfigError,
            "no column 'caption'",
        ),
        ({"mood": BPM}, {}, DatasetError, "column mood, of the condition mood: 'calm' is not a finite number"),
        (
            {"mood": {"kind": "labels", "labels": ["calm"]}},
            {},
            DatasetError,
            "column mood, of the condition mood: unknown label 'lively'",
        ),
    ],
)
def test_columns_that_do_not_fit_are_refused_before_training(
    dataset: Path,
    codec: Path,
    tmp_path: Path,
    conditioners: dict[str, Any],
    data: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        run(dataset, codec, tmp_path, conditioners, data=data, steps=1, batch_size=2)


def test_a_text_that_the_data_lacks_is_warned_about_and_recorded(
    dataset: Path, codec: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = {"kind": "bytes", "layers": 1, "heads": 2, "max_bytes": 8, "num_tokens": 1}
    with caplog.at_level("WARNING"):
        run(dataset, codec, tmp_path / "run", {"text": text}, steps=1, batch_size=2)
    assert any("has no column text (its columns: bpm, mood)" in record.getMessage() for record in caplog.records)
    pipe = load_pipeline(tmp_path / "run")
    with pytest.raises(ValueError, match="never saw a value of text in training"):
        pipe("piano", duration_s=0.05)
    run(
        dataset, codec, tmp_path / "other", {"text": text}, data={"conditions": {"text": "mood"}}, steps=1, batch_size=2
    )
    assert load_pipeline(tmp_path / "other").generator.trained_on.conditions == ("seconds", "text")
