"""Saving a model over what is there."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from noise_generator import NoiseConfig, NoiseGenerator, binding_of

from latentune.core.errors import CheckpointError, OutputError
from latentune.tokenizers.base import AudioTokenizer
from latentune.tokenizers.load import load_tokenizer


def test_a_model_of_the_same_class_is_replaced_and_its_card_stays(tiny_codec: Any, tmp_path: Path) -> None:
    tiny_codec.save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("card")
    (tmp_path / "diffusion_pytorch_model-00001-of-00002.safetensors").touch()  # of a larger one
    other = type(tiny_codec)(tiny_codec.settings)
    other.save_pretrained(tmp_path)
    assert load_tokenizer(tmp_path).fingerprint() == other.fingerprint() != tiny_codec.fingerprint()
    names = ["README.md", "config.json", "diffusion_pytorch_model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_variant_is_added(tiny_codec: Any, tmp_path: Path) -> None:
    tiny_codec.save_pretrained(tmp_path)
    tiny_codec.save_pretrained(tmp_path, variant="fp16")
    names = ["config.json", "diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


@pytest.mark.parametrize("strange", ["thesis.txt", "shards/00000.safetensors", "diffusion.png"])
def test_other_files_are_not_touched(tiny_codec: Any, tmp_path: Path, strange: str) -> None:
    for model_there in (False, True):
        if model_there:
            tiny_codec.save_pretrained(tmp_path / "model")
        (tmp_path / "model" / strange).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / strange).write_text("dear")
        with pytest.raises(ValueError, match="choose a new folder for the CoDiCodec"):
            tiny_codec.save_pretrained(tmp_path / "model")
        assert (tmp_path / "model" / strange).read_text() == "dear"
        for path in sorted((tmp_path / "model").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_a_model_of_another_class_is_not_replaced(tiny_codec: Any, tmp_path: Path) -> None:
    tiny_codec.save_pretrained(tmp_path)
    generator = NoiseGenerator(NoiseConfig(binding=binding_of(tiny_codec)))
    with pytest.raises(ValueError, match="holds CoDiCodec: choose a new folder for the NoiseGenerator"):
        generator.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="holds something else: choose a new folder"):
        tiny_codec.save_pretrained(tmp_path)


def test_a_file_is_refused(tiny_codec: AudioTokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file; give a folder"):
        tiny_codec.save_pretrained(tmp_path / "file")


def test_a_failed_save_leaves_the_former_model(
    tiny_codec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_codec.save_pretrained(tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def full(*arguments: Any, **options: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    other = type(tiny_codec)(tiny_codec.settings)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    with pytest.raises(OutputError, match=rf"cannot write {tmp_path}/model \(No space left on device\)"):
        other.save_pretrained(tmp_path / "model")
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_not_there_is_not_asked_for_at_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*arguments: object, **options: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("diffusers.models.modeling_utils.ModelMixin.from_pretrained", asked)
    for name in ("nowhere", "./no/where", "a/b/c"):
        with pytest.raises(CheckpointError, match="there is no such folder"):
            NoiseGenerator.from_pretrained(name)


def test_converting_warns_of_nothing(tiny_codec: AudioTokenizer, caplog: pytest.LogCaptureFixture) -> None:
    model = type(tiny_codec)(tiny_codec.settings)  # type: ignore[call-arg]
    diffusers = logging.getLogger("diffusers")  # which hands nothing to the root logger
    diffusers.addHandler(caplog.handler)
    try:
        assert model.to(torch.bfloat16) is model
        assert model.to("cpu", dtype=torch.float32).dtype == torch.float32
    finally:
        diffusers.removeHandler(caplog.handler)
    assert not caplog.records
