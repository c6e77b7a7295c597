"""Embeddings of prompts and recordings as columns of a dataset: stored once, trained on, and sampled from."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import third_party
import tiny_encoders
import torch
from click.testing import CliRunner

from latentune.core.errors import ConfigError, DatasetError, MismatchError
from latentune.core.settings import load_settings
from latentune.pipelines.commands.main import app
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.data.shards.embed import store_embeddings
from latentune.pipelines.data.shards.embeddings import EmbeddingStore, list_stores, open_store
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.generation.load import load_pipeline
from latentune.pipelines.train import train, train_config
from latentune.pipelines.training.data_config import LatentDataConfig
from latentune.pipelines.training.latent_data import LatentCrops

RATE = 8000
LEVELS = {"dog": -0.6, "cat": -0.2, "piano": 0.2, "rain": 0.6}  # the audio of a caption is constant


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A codec, a text encoder, a CLAP, and recordings with captions; one has two captions, and one has none."""
    root = tmp_path_factory.mktemp("prompts")
    torch.manual_seed(0)
    third_party.LinearCodec(third_party.LinearConfig(latent_dim=2)).save_pretrained(root / "codec")
    for kind in ("bert", "clap"):
        tiny_encoders.save_text_encoder(kind, root / kind)
    rows: list[dict[str, Any]] = []
    for number, (word, level) in enumerate(LEVELS.items()):
        tone = 0.2 * np.sin(np.arange(RATE // 4) * (0.05 + 0.3 * number))  # so that recordings differ for CLAP
        soundfile.write(root / f"{word}.wav", level + tone, RATE, subtype="FLOAT")
        caption = [f"a {word}", f"a loud {word}"] if word == "dog" else f"a {word}"
        rows.append({"path": f"{word}.wav", "caption": caption, "kind": word})
    soundfile.write(root / "none.wav", np.full(RATE // 4, 0.01), RATE, subtype="FLOAT")
    rows.append({"path": "none.wav"})
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"root": root, **{name: root / name for name in ("codec", "bert", "clap", "manifest.jsonl", "data")}}


def encode(places: dict[str, Path], output: Path, **keys: Any) -> None:
    encode_dataset(
        EncodeConfig(source=str(places["manifest.jsonl"]), output=str(output), tokenizer=str(places["codec"]), **keys)
    )


@pytest.fixture(scope="module")
def dataset(places: dict[str, Path]) -> Path:
    captions = {"caption": f"frozen_text:{places['bert']}", "audio": f"clap:{places['clap']}"}
    encode(places, places["data"], captions=captions)
    return places["data"]


def test_every_text_and_every_recording_is_stored_once(dataset: Path, places: dict[str, Path]) -> None:
    stores = {store["column"]: store for store in list_stores(dataset)}
    assert {column: (store["num_entries"], store["dim"]) for column, store in stores.items()} == {
        "caption": (5, 16),
        "audio": (5, 12),
    }
    source = f"frozen_text:{places['bert']}"
    texts = open_store(dataset, "caption", source)
    assert texts is not None
    dog, louder = texts.find("a dog"), texts.find("a loud dog")
    assert dog is not None
    assert dog.shape == (4, 16)
    assert louder is not None
    assert louder.shape == (5, 16)
    assert texts.find("a horse") is None
    sounds = open_store(dataset, "audio", f"clap:{places['clap']}")
    assert sounds is not None
    found = [sounds.find(meta["id"]) for meta in LatentDataset(dataset).metas()]
    assert all(vector is not None and vector.shape == (1, 12) for vector in found)
    assert store_embeddings(dataset, "caption", source, device="cpu") == 0  # nothing is computed again
    assert open_store(dataset, "kind", source) is None
    encode(places, dataset)  # the dataset itself is still complete


def test_an_interrupted_call_keeps_its_files_and_continues(
    dataset: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from latentune.pipelines.data.shards import embed

    monkeypatch.setattr(embed, "PART_NUMBERS", 1)
    monkeypatch.setattr(embed, "TEXTS_AT_ONCE", 1)
    source = f"frozen_text:{places['bert']}"

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_embeddings(dataset, "kind", source, device="cpu", progress=stop)
    store = open_store(dataset, "kind", source)
    assert store is not None
    assert len(store) == 2
    assert store_embeddings(dataset, "kind", source, device="cpu") == 2
    whole = open_store(dataset, "kind", source)
    assert whole is not None
    assert len(whole.parts) == 4
    assert all(whole.find(word) is not None for word in LEVELS)


def run(dataset: Path, places: dict[str, Path], output: Path, conditioners: dict[str, Any], **keys: Any) -> None:
    given = {
        "model": {
            "config": {"conditioning": {"conditioners": {"text": None, **conditioners}}},
            "objective": {"keep_patterns": {"none": 1, "prefix": 0, "suffix": 0, "gap": 0, "gaps": 0}},
        },
        "data": {"source": str(dataset), "tokenizer": str(places["codec"]), "crop_s": 0.05, **keys.pop("data", {})},
        "output": str(output),
        "optimizer": {"lr": 4e-3},
        "device": "cpu",
        **keys,
    }
    train(train_config(load_settings("train/dit-tiny", (), given)))


@pytest.fixture(scope="module")
def trained(dataset: Path, places: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of texts by their embeddings, and one of recordings by theirs, in one."""
    output = tmp_path_factory.mktemp("trained") / "run"
    conditioners = {
        "text": {"kind": "frozen_text", "encoder": str(places["bert"]), "drop_probability": 0.4},
        "style": {"kind": "clap", "checkpoint": str(places["clap"]), "drop_probability": 0.4},
    }
    data = {"conditions": {"text": "caption", "style": "audio"}}
    run(dataset, places, output, conditioners, data=data, steps=200, batch_size=15)
    return output


def latents_of(pipe: Any, **request: Any) -> torch.Tensor:
    """The mean latent [B, D] of each sample."""
    request.setdefault("prompt", [""] * len(LEVELS))
    out = pipe(duration_s=0.05, generator=torch.Generator().manual_seed(0), num_inference_steps=16, **request)
    found: torch.Tensor = out.latents.mean(1)
    return found


def test_prompts_and_recordings_lead_to_their_audio(trained: Path, places: dict[str, Path]) -> None:
    pipe = load_pipeline(trained)
    audio = [soundfile.read(places["root"] / f"{word}.wav", dtype="float32")[0] for word in LEVELS]
    recordings = [torch.from_numpy(samples)[None] for samples in audio]
    wanted = torch.stack([pipe.tokenizer.encode(one[None], RATE).latents.mean((0, 1)) for one in recordings])
    by_text = latents_of(pipe, prompt=[f"a {word}" for word in LEVELS])
    by_sound = latents_of(pipe, conditions={"style": [(one, RATE) for one in recordings]})
    ends = [0, len(LEVELS) - 1]  # the lowest and the highest level, which so few steps tell apart
    assert torch.cdist(by_text[ends], wanted[ends]).argmin(1).tolist() == [0, 1]
    # a CLAP of random weights gives nearly the same for every recording, so that no more than this can be learned of it
    store = open_store(places["data"], "audio", f"clap:{places['clap']}")
    assert store is not None
    stored = [store.find(meta["id"]) for meta in LatentDataset(places["data"]).metas()][: len(LEVELS)]
    torch.testing.assert_close(by_sound, latents_of(pipe, conditions={"style": stored}), atol=0.02, rtol=0)
    assert torch.pdist(by_sound).min() > 1e-5
    facts = pipe.generator.trained_on
    assert facts.conditions == ("seconds", "style", "text")
    assert sorted(facts.encoders) == ["style", "text"]
    torch.testing.assert_close(latents_of(pipe, prompt=["a dog"])[0], by_text[0], atol=1e-4, rtol=1e-4)


def test_the_command_line_takes_recordings_and_refuses_what_does_not_fit(
    trained: Path, places: dict[str, Path], tmp_path: Path
) -> None:
    def sample(output: str, *arguments: str, code: int = 0) -> str:
        common = ["sample", str(trained), str(tmp_path / output), "--seconds", "0.05", "--steps", "4"]
        result = CliRunner().invoke(app, [*common, "spectrograms=false", "device=cpu", *arguments])
        assert result.exit_code == code, result.output
        return result.output

    for word in ("dog", "rain"):
        sample(word, "--condition", f"style=file:{places['root'] / word}.wav", "--prompt", "a dog")
    one, other = (soundfile.read(next((tmp_path / word).glob("*.wav")))[0] for word in ("dog", "rain"))
    assert np.abs(one - other).max() > 1e-4
    record = json.loads((tmp_path / "dog" / "000_a-dog.json").read_text())
    assert record["call"]["conditions"]["style"] == [f"file:{places['root'] / 'dog'}.wav"]
    assert "nowhere.wav" in sample("x", "--condition", "style=file:nowhere.wav", code=1)


def test_another_encoder_at_the_same_place_is_refused(
    dataset: Path, trained: Path, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = load_pipeline(trained)
    encoders = {name: "0" * 64 for name in pipe.generator.trained_on.encoders}
    monkeypatch.setitem(pipe.generator.trained_on.encoders, "text", encoders["text"])
    with pytest.raises(MismatchError, match=r"trained with other weights for text \(000000000000\)"):
        pipe("a dog", duration_s=0.05)
    options: dict[str, Any] = {"duration_s": 0.05, "num_inference_steps": 1, "guidance_scale": 2.0}
    with pytest.raises(MismatchError, match="other weights for text"):
        pipe("", **options, negative_prompt="a dog")


def test_what_guidance_cannot_follow_is_refused_or_warned_about(
    trained: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = load_pipeline(trained)
    options: dict[str, Any] = {"duration_s": 0.05, "num_inference_steps": 1, "guidance_scales": {"text": 3.0}}
    with caplog.at_level(logging.WARNING):
        pipe("a dog", **options)
    assert "dropped alone" not in caplog.text
    monkeypatch.setitem(pipe.generator.condition_encoder.config.conditioners["text"], "drop_probability", 0.0)
    with caplog.at_level(logging.WARNING):
        pipe("a dog", **options)
        pipe("a cat", **options)
    assert caplog.text.count("text was never dropped alone in training") == 1


def test_one_of_several_captions_is_drawn(dataset: Path, places: dict[str, Path]) -> None:
    from latentune.generators.conditioning import ConditionEncoder, ConditioningConfig

    encoder = ConditionEncoder(ConditioningConfig(width=16, conditioners={"text": {"kind": "bytes", "heads": 2}}))
    config = LatentDataConfig(source=str(dataset), crop_s=0.05, conditions={"text": "caption"})
    crops = LatentCrops(LatentDataset(dataset), config, seed=0, encoder=encoder)
    index = next(i for i, meta in enumerate(crops.dataset.metas()) if meta["metadata"].get("kind") == "dog")

    def texts(epochs: range) -> list[str]:
        tensors = crops.batch(np.array([[epoch, index] for epoch in epochs])).conditions.tensors["text"]
        rows = zip(tensors["bytes"][:, 0], tensors["mask"][:, 0], strict=True)
        return [bytes(data[mask].tolist()).decode() for data, mask in rows]

    drawn = texts(range(200))
    assert set(drawn) == {"a dog", "a loud dog"}
    assert 70 < drawn.count("a dog") < 130
    assert texts(range(50, 60)) == drawn[50:60]


def test_what_cannot_be_embedded_is_refused(dataset: Path, places: dict[str, Path], tmp_path: Path) -> None:
    text = f"frozen_text:{places['bert']}"
    for column, source, error, message in (
        ("captoin", text, ConfigError, "no column 'captoin': did you mean 'caption'"),
        ("audio", text, ConfigError, "takes no audio"),
        ("caption", "bert", ConfigError, "is not kind:source"),
    ):
        with pytest.raises(error, match=message):
            store_embeddings(dataset, column, source, device="cpu")
    with pytest.raises(ConfigError, match="did you mean 'frozen_text'"):
        EncodeConfig(source="x", output="y", captions={"text": "frozn_text:x"})
    style = {"style": {"kind": "clap", "checkpoint": str(places["clap"])}}
    plain = tmp_path / "plain"
    encode(places, plain)
    data = {"conditions": {"style": "audio"}}
    with pytest.raises(ConfigError, match="stores no embeddings of its audio for the condition style: latentune info"):
        run(plain, places, tmp_path / "run", style, data=data, steps=1, batch_size=2)
    part = next((dataset / "embeddings").rglob("*.safetensors"))
    (tmp_path / part.name).write_bytes(part.read_bytes()[:-10])
    with pytest.raises(DatasetError, match="is corrupt"):
        EmbeddingStore(tmp_path)


def test_a_dataset_without_texts_is_warned_about_and_added_to_later(
    places: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        encode(places, tmp_path / "data")
    assert "no item has a text (metadata columns: caption, kind)" in caplog.text
    command = ["info", str(tmp_path / "data"), "--add", f"caption=frozen_text:{places['bert']}"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "embeddings of caption" in result.output
    assert len(list_stores(tmp_path / "data")) == 1
