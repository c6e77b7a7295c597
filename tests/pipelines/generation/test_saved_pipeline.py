"""The sampling pipeline as a folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_cache import make_cache
from noise_generator import seeded

from latentune.core.errors import CheckpointError, MismatchError
from latentune.generators.load import load_generator
from latentune.pipelines.generation import load as pipeline_table
from latentune.pipelines.generation.load import build_pipeline, load_pipeline
from latentune.pipelines.generation.pipeline import GenerationPipeline
from latentune.pipelines.generation.saved import PipelineDefaults
from latentune.tokenizers.load import load_tokenizer

SECONDS = 0.1


def test_a_saved_pipeline_samples_the_same(pipe: GenerationPipeline, tmp_path: Path) -> None:
    pipe.defaults = PipelineDefaults(duration_s=0.05, decode={"steps": 1})
    pipe.save_pretrained(tmp_path / "deep" / "pipe")
    pipe.save_pretrained(tmp_path / "deep" / "pipe")  # replaces what is there
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["pipe"]
    assert sorted(p.name for p in (tmp_path / "deep" / "pipe").iterdir()) == ["generator", "pipeline.json", "tokenizer"]
    loaded = load_pipeline(tmp_path / "deep" / "pipe")
    assert loaded.defaults == pipe.defaults
    assert torch.equal(loaded("a", generator=seeded()).audio, pipe("a", generator=seeded()).audio)


def test_hub_ids_subfolders_devices_and_dtypes_work_for_all_three(pipe: GenerationPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "saved")
    files = [path for path in (tmp_path / "saved").rglob("*") if path.is_file()]
    for prefix, hub_id in (("", "me/pipe"), ("deep/", "me/deep")):
        names = {prefix + str(path.relative_to(tmp_path / "saved")): path for path in files}
        make_cache(tmp_path, hub_id, names, revision="v1")
    options: dict[str, Any] = {"torch_dtype": torch.bfloat16, "device_map": "cpu"}
    for place, where in (
        (tmp_path / "saved", {}),
        (tmp_path, {"subfolder": "saved"}),
        ("me/pipe", {"cache_dir": tmp_path, "revision": "v1", "local_files_only": True, "token": "x"}),
        ("me/deep", {"cache_dir": tmp_path, "revision": "v1", "subfolder": "deep"}),
    ):
        loaded = load_pipeline(place, **where, **options)
        parts = {
            part: {**where, "subfolder": "/".join(filter(None, [where.get("subfolder"), part]))}
            for part in ("generator", "tokenizer")
        }
        generator = load_generator(place, **parts["generator"], **options)
        tokenizer = load_tokenizer(place, **parts["tokenizer"], **options)
        assert loaded.generator.dtype == loaded.tokenizer.dtype == generator.dtype == tokenizer.dtype == torch.bfloat16
        assert loaded.fingerprint == loaded.tokenizer.fingerprint() == tokenizer.fingerprint() == pipe.fingerprint
        assert loaded.generator.fingerprint() == generator.fingerprint() == pipe.generator.fingerprint()
    places = {load_pipeline: "", load_generator: "generator", load_tokenizer: "tokenizer"}
    for load, part in places.items():
        with pytest.raises(CheckpointError, match="me/pipe from the hub: HF_HUB_OFFLINE=1 is set"):
            load("me/pipe", cache_dir=tmp_path)  # main is not in the cache
        with pytest.raises(TypeError, match="no option revison: did you mean 'revision'"):
            load(tmp_path / "saved" / part, revison="v1")
        with pytest.raises(ValueError, match="names parts"):
            load(tmp_path / "saved" / part, device_map={"a": 0, "b": 1})


def test_a_tokenizer_that_is_fetched_by_its_name_comes_from_the_same_cache(
    pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path
) -> None:
    tiny_codec.save_pretrained(tmp_path / "codec")
    make_cache(tmp_path, "me/codec", {path.name: path for path in (tmp_path / "codec").iterdir()})
    pipe.save_pretrained(tmp_path / "pipe")
    shutil.rmtree(tmp_path / "pipe/tokenizer")
    manifest = tmp_path / "pipe/pipeline.json"
    manifest.write_text(manifest.read_text().replace('"./tokenizer"', '"me/codec"'))
    assert load_pipeline(tmp_path / "pipe", cache_dir=tmp_path).fingerprint == pipe.fingerprint
    with pytest.raises(CheckpointError, match="me/codec from the hub"):
        load_pipeline(tmp_path / "pipe")


def test_a_shipped_tokenizer_is_referred_to_by_its_name(
    pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_codec.save_pretrained(str(tmp_path / "codec"))
    pipe.generator.save_pretrained(str(tmp_path / "generator"))
    some_card = next(iter(pipeline_table.SHIPPED_TOKENIZERS.values()))
    for name in list(pipeline_table.SHIPPED_TOKENIZERS):
        monkeypatch.delitem(pipeline_table.SHIPPED_TOKENIZERS, name)
    card = replace(some_card, place=str(tmp_path / "codec"))
    monkeypatch.setitem(pipeline_table.SHIPPED_TOKENIZERS, "tiny", card)
    build_pipeline("tiny", tmp_path / "generator", tmp_path / "pipe", torch_dtype=torch.float16)
    manifest = json.loads((tmp_path / "pipe" / "pipeline.json").read_text())
    assert manifest["tokenizer"] == "tiny"
    assert not (tmp_path / "pipe" / "tokenizer").exists()
    assert load_pipeline(tmp_path / "pipe").fingerprint == pipe.fingerprint
    # a generator alone does not name its tokenizer: the shipped one with its fingerprint is found
    assert load_pipeline(tmp_path / "generator").fingerprint == pipe.fingerprint


def test_a_pipeline_whose_tokenizer_was_exchanged_is_refused(
    pipe: GenerationPipeline, tiny_codec: Any, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    other = type(tiny_codec)(tiny_codec.settings)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    other.save_pretrained(str(tmp_path / "pipe" / "tokenizer"))
    with pytest.raises(MismatchError, match="load it with the tokenizer it was saved with"):
        load_pipeline(tmp_path / "pipe")
    assert load_pipeline(tmp_path / "pipe", tokenizer=tiny_codec).fingerprint == pipe.fingerprint


def test_saving_does_not_touch_a_folder_with_other_files(pipe: GenerationPipeline, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match="choose a new folder"):
        pipe.save_pretrained(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_pipeline_with_other_files_is_not_replaced(pipe: GenerationPipeline, tmp_path: Path) -> None:
    pipe.save_pretrained(tmp_path / "pipe")
    (tmp_path / "pipe" / "README.md").write_text("card")
    pipe.save_pretrained(tmp_path / "pipe")
    assert (tmp_path / "pipe" / "README.md").read_text() == "card"
    (tmp_path / "pipe" / "thesis.txt").write_text("dear")
    with pytest.raises(ValueError, match=r"holds other files, such as thesis.txt: choose a new folder"):
        pipe.save_pretrained(tmp_path / "pipe")
    assert (tmp_path / "pipe" / "thesis.txt").read_text() == "dear"


def test_a_failed_save_leaves_nothing_behind(
    pipe: GenerationPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(pipe.tokenizer), "save_pretrained", full)
    with pytest.raises(OSError, match="No space left"):
        pipe.save_pretrained(tmp_path / "pipe")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no pipeline, training run, checkpoint or generator"),
        ("{", "not a pipeline's manifest"),
        ("[1]", "not a pipeline's manifest"),
        ('{"format_version": 99}', "format version 99"),
        ('{"format_version": 1, "tokeniser": "x"}', "did you mean 'tokenizer'"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "pipeline.json").write_text(content)
    with pytest.raises(CheckpointError, match=message):
        load_pipeline(tmp_path)


def test_a_name_that_is_nothing_lists_what_ships() -> None:
    with pytest.raises(CheckpointError, match="melcodec-music-dit"):
        load_pipeline("melcodec-music-dti")
