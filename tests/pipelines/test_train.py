"""The training loop on a tiny codec and tiny generators."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from latentune.core.errors import MismatchError, TrainingError
from latentune.core.settings import load_settings
from latentune.generators.load import load_generator
from latentune.pipelines.data.checkpoints import last_checkpoint, run_weights
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.train import TrainSummary, train, train_config
from latentune.tokenizers.codicodec import CoDiCodec, CoDiCodecConfig
from latentune.tokenizers.load import load_tokenizer

RATE = 48000


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short files; fewer than a batch of four."""
    folder = tmp_path_factory.mktemp("music")
    rng = np.random.default_rng(0)
    rows = []
    for number, seconds in enumerate((0.3, 0.2, 0.4)):
        name = f"{number}.wav"
        soundfile.write(folder / name, rng.uniform(-0.3, 0.3, (round(seconds * RATE), 2)), RATE)
        split = "valid" if number == 2 else "train"
        rows.append({"path": name, "text": f"noise {number}", "label": "ab"[number % 2], "split": split})
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def codec_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("codec")
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(audio: Path, codec_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "latents"
    encode_dataset(EncodeConfig(source=str(audio / "manifest.jsonl"), output=str(folder), tokenizer=str(codec_folder)))
    return folder


def run(name: str, source: Path, output: Path, *overrides: str, **options: Any) -> TrainSummary:
    keys = [f"data.source={source}", f"output={output}", "log_every=1", *overrides]
    return train(train_config(load_settings(name, keys)), **options)


def metrics(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_a_codec_trains_and_its_run_holds_what_it_should(audio: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    seen: list[tuple[int, int]] = []
    summary = run(
        "train/codicodec-tiny",
        audio / "manifest.jsonl",
        tmp_path / "run",
        "data.where={split: train}",
        "data.valid_where={split: valid}",
        "data.valid_examples=3",
        "validate_every=2",
        "preview_every=4",
        "preview.num=1",
        "preview.seconds=0.1",
        "preview.options={steps: 1}",
        "keep_checkpoints=1",
        "trackers=[tensorboard]",
        progress=lambda done, total, figures: seen.append((done, total)),
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "valid_loss" in line] == [2, 4]
    assert lines[-1]["valid_loss"] == summary.valid_loss
    assert all(line["learning_rate"] == 1e-3 and line["gradient_norm"] > 0 for line in lines if "loss" in line)
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir() if path.is_dir()] == ["00000004"]
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    previews = sorted(path.name for path in (tmp_path / "run" / "previews" / "00000004").iterdir())
    assert previews == ["00-decoded.png", "00-decoded.wav", "00-original.png", "00-original.wav"]
    assert train_config(load_settings(tmp_path / "run" / "train.yaml")).steps == 4
    for part in ("model", "ema"):
        assert load_tokenizer(last_checkpoint(tmp_path / "run") / part).spec.latent_dim == 8  # type: ignore[operator]
    assert run_weights(tmp_path / "run").name == "ema"


@pytest.mark.parametrize("name", ["dit-tiny", "lm-tiny"])
def test_a_generator_trains_on_fewer_items_than_a_batch_and_its_loss_falls(
    name: str, dataset: Path, codec_folder: Path, tmp_path: Path
) -> None:
    summary = run(
        f"train/{name}",
        dataset,
        tmp_path / "run",
        "steps=30",
        "data.crop_s=0.17",
        "batch_size=4",
        "data.where={split: train}",
        "data.valid_where={split: valid}",
        "data.valid_examples=2",
        f"data.tokenizer={codec_folder}",
        "validate_every=30",
        "preview_every=30",
        "preview={seconds: 0.1, prompts: [noise, hum]}",
        "optimizer.lr=3e-3",
        "schedule.warmup_steps=3",
        "seed=3",
    )
    losses = [line["loss"] for line in metrics(tmp_path / "run") if "loss" in line]
    assert np.mean(losses[-8:]) < 0.97 * np.mean(losses[:4])
    assert summary.valid_loss is not None
    model = load_generator(run_weights(tmp_path / "run"))
    assert model.binding.fingerprint == load_tokenizer(codec_folder).fingerprint()
    names = {path.name for path in (tmp_path / "run" / "previews" / "00000030").iterdir()}
    assert names == {"samples.safetensors", "00.wav", "00.png", "01.wav", "01.png"}


def test_weights_to_start_from_are_taken_and_checked(audio: Path, codec_folder: Path, tmp_path: Path) -> None:
    start = [f"model.init_from={codec_folder}", "steps=1", "optimizer.lr=1e-12"]
    run("train/codicodec-tiny", audio, tmp_path / "a", *start)
    saved = load_file(run_weights(tmp_path / "a") / "diffusion_pytorch_model.safetensors")
    for key, value in load_file(codec_folder / "diffusion_pytorch_model.safetensors").items():
        torch.testing.assert_close(saved[key], value, atol=1e-9, rtol=0)
    with pytest.raises(MismatchError, match="decoder_blocks differ"):
        run("train/codicodec-tiny", audio, tmp_path / "b", *start, "model.config.decoder_blocks=1")


def test_bf16_and_accumulation_train(audio: Path, tmp_path: Path) -> None:
    summary = run("train/codicodec-tiny", audio, tmp_path, "precision=bf16", "grad_accum=2", "steps=2")
    weights = load_file(run_weights(tmp_path) / "diffusion_pytorch_model.safetensors")
    assert np.isfinite(summary.loss)
    assert all(value.dtype == torch.float32 and torch.isfinite(value).all() for value in weights.values())


def test_training_leaves_the_callers_randomness_alone(audio: Path, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run("train/codicodec-tiny", audio, tmp_path, "steps=1")
    assert torch.equal(torch.rand(1), expected)


# ---------------------------------------------------------------------- mistakes


def test_nan_in_the_loss_stops_the_run_and_names_step_and_items(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "bad.wav", np.full((RATE, 2), np.nan), RATE, subtype="FLOAT")
    with pytest.raises(TrainingError, match=r"the loss is NaN or inf at step 0 .*bad\.wav at"):
        run("train/codicodec-tiny", tmp_path / "audio", tmp_path / "run")
    assert last_checkpoint(tmp_path / "run") is None


def test_a_dataset_of_another_tokenizer_is_refused(dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(tmp_path / "other")
    with pytest.raises(MismatchError, match="was encoded with"):
        run("train/dit-tiny", dataset, tmp_path / "run", f"data.tokenizer={tmp_path / 'other'}")


def test_a_generator_of_another_tokenizer_is_refused(
    dataset: Path, audio: Path, tmp_path: Path, codec_folder: Path
) -> None:
    run("train/lm-tiny", dataset, tmp_path / "first", "steps=1", "batch_size=1")
    torch.manual_seed(1)
    CoDiCodec(CoDiCodecConfig.tiny()).save_pretrained(tmp_path / "other")
    other = EncodeConfig(source=str(audio), output=str(tmp_path / "data"), tokenizer=str(tmp_path / "other"))
    encode_dataset(other)
    weights = f"model.init_from={run_weights(tmp_path / 'first')}"
    with pytest.raises(MismatchError, match=r"weights .* belongs to a tokenizer with fingerprint"):
        run("train/lm-tiny", tmp_path / "data", tmp_path / "run", weights)
    with pytest.raises(MismatchError, match="held-out dataset"):
        run("train/lm-tiny", tmp_path / "data", tmp_path / "run", f"data.valid_source={dataset}")


def test_an_empty_choice_of_items_is_an_error(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"nothing to train on: dataset .* has no items with split = 'nowhere'"):
        run("train/dit-tiny", dataset, tmp_path, "data.where={split: nowhere}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("precision=fp16", "fp16 needs a GPU"),
        ("device=cuda", "there is no CUDA device available"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_the_machine_lacks_is_told(audio: Path, tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run("train/codicodec-tiny", audio, tmp_path, override)


def test_an_output_that_cannot_be_written_is_told_before_anything_else(audio: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run("train/codicodec-tiny", audio, tmp_path / "file")
