"""A run continues with the data that it began with, or with others if it is allowed to."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_codec import FakeCodec
from made_dataset import RATE, make_dataset

from latentune.core.errors import DatasetError, MismatchError
from latentune.core.settings import load_settings
from latentune.generators.base import TokenizerBinding
from latentune.generators.load import load_generator
from latentune.pipelines.data.checkpoints import last_checkpoint, read_progress, run_weights
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.train import TrainSummary, train, train_config


@pytest.fixture
def made(tmp_path: Path) -> dict[str, Path]:
    return make_dataset(tmp_path, seconds=(0.2, 0.2))


def run(made: dict[str, Path], *overrides: str, **options: Any) -> TrainSummary:
    output = made["data"].parent / "run"
    keys = [f"data.source={made['data']}", f"data.tokenizer={made['codec']}", "data.crop_s=0.17", f"output={output}"]
    keys += ["batch_size=2", "device=cpu", "schedule.warmup_steps=0", *overrides]
    return train(train_config(load_settings("train/dit-tiny", keys)), **options)


def grow(made: dict[str, Path]) -> None:
    """Adds a recording to the dataset."""
    audio = made["audio"]
    soundfile.write(audio / "more.wav", np.random.default_rng(9).uniform(-0.3, 0.3, (RATE // 5, 2)), RATE)
    with open(audio / "manifest.jsonl", "a") as file:
        file.write(json.dumps({"path": "more.wav", "text": "more", "label": "a"}) + "\n")
    source = str(audio / "manifest.jsonl")
    encode_dataset(EncodeConfig(source=source, output=str(made["data"]), tokenizer=str(made["codec"]), device="cpu"))


def test_a_dataset_that_changed_is_refused_or_accepted_by_name(
    made: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    run(made, "steps=1")
    grow(made)
    with pytest.raises(MismatchError, match=r"trained on other data .*--allow-changed-data"):
        run(made, "steps=2")
    assert run(made, "steps=2", allow_changed_data=True).steps == 2
    assert "the run continues with the data as they are now" in caplog.text
    assert run(made, "steps=3").steps == 3  # the newest checkpoint is of these data


def test_latents_keep_the_statistics_that_the_weights_were_trained_with(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def encode() -> None:
        settings = EncodeConfig(source=str(tmp_path / "audio"), output=str(tmp_path / "data"), device="cpu")
        encode_dataset(settings, tokenizer=FakeCodec().eval())

    def train_to(steps: int) -> TokenizerBinding:
        keys = [f"data.source={tmp_path / 'data'}", f"output={tmp_path / 'run'}", f"steps={steps}"]
        keys += ["data.crop_s=0.1", "batch_size=2", "device=cpu"]
        train(train_config(load_settings("train/dit-tiny", keys)), allow_changed_data=True)
        return load_generator(run_weights(tmp_path / "run")).binding

    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "0.wav", rng.uniform(-0.3, 0.3, (4000, 2)), 8000)
    encode()
    before = train_to(1)
    soundfile.write(tmp_path / "audio" / "1.wav", rng.uniform(-0.9, 0.9, (4000, 2)), 8000)
    encode()
    assert LatentDataset(tmp_path / "data").latent_std != before.latent_std
    assert train_to(2) == before


def test_the_same_dataset_elsewhere_is_the_same(made: dict[str, Path], tmp_path: Path) -> None:
    run(made, "steps=1")
    shutil.copytree(made["data"], tmp_path / "copy")
    assert run({**made, "data": tmp_path / "copy"}, f"output={tmp_path / 'run'}", "steps=2").steps == 2


def test_a_checkpoint_without_identity_is_resumed(made: dict[str, Path]) -> None:
    """As releases before 0.2.0 wrote it."""
    run(made, "steps=1")
    checkpoint = last_checkpoint(made["data"].parent / "run")
    assert checkpoint is not None
    state = json.loads((checkpoint / "state.json").read_text())
    assert state.pop("data") == read_progress(checkpoint).data != ""
    (checkpoint / "state.json").write_text(json.dumps(state))
    assert run(made, "steps=2").steps == 2


@pytest.mark.parametrize("changed", ["data.crop_s=0.09", "data.conditions={text: label}"])
def test_other_crops_and_columns_are_accepted_by_name(
    made: dict[str, Path], changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    run(made, "steps=1")
    key = changed.partition("=")[0]
    with pytest.raises(MismatchError, match=f"other {key}: .*--allow-changed-data"):
        run(made, "steps=2", changed)
    assert run(made, "steps=2", changed, allow_changed_data=True).steps == 2
    assert f"is of a run with other {key}: the run continues" in caplog.text


def test_another_model_is_not_accepted_with_other_data(made: dict[str, Path]) -> None:
    run(made, "steps=1")
    with pytest.raises(MismatchError, match=r"other seed: use its values or another output$"):
        run(made, "steps=2", "seed=5", "data.crop_s=0.09", allow_changed_data=True)


def test_audio_that_changed_is_refused(made: dict[str, Path], tmp_path: Path) -> None:
    def codec_run(*overrides: str, **options: Any) -> TrainSummary:
        keys = [f"data.source={made['audio']}", f"output={tmp_path / 'codec-run'}", "device=cpu", *overrides]
        return train(train_config(load_settings("train/codicodec-tiny", keys)), **options)

    codec_run("steps=1")
    soundfile.write(made["audio"] / "2.wav", np.zeros((RATE // 4, 2)), RATE)
    with pytest.raises(MismatchError, match="trained on other data"):
        codec_run("steps=2")
    assert codec_run("steps=2", allow_changed_data=True).steps == 2


def test_a_corrupt_dataset_is_found_before_training(made: dict[str, Path]) -> None:
    assert run(made, "steps=1", "data.verify=true").steps == 1
    shard = next((made["data"] / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    content[-40] ^= 1  # of the metadata of an item, or a token: nothing that opening looks at
    shard.write_bytes(content)
    with pytest.raises(DatasetError, match=r"data\.verify: shard .* does not have the recorded hash"):
        run(made, "steps=2", "data.verify=true")
