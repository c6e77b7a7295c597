"""Folders of stable-audio-tools' `pre_encode.py`: the dataset holds the latents of the codec, cut by the mask."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from latentune.core.errors import AudioError, ConfigError, MismatchError
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.data.shards.embed import store_embeddings
from latentune.pipelines.data.shards.load_latents import latent_scale
from latentune.pipelines.data.shards.verify import compare_with_source, verify_dataset
from latentune.pipelines.encode import EncodeConfig, EncodeSummary, encode_dataset
from latentune.tokenizers.base import Encoded
from latentune.tokenizers.taae import TAAE, TAAEConfig

FRAMES = 50  # of each file, 2 s, of which REAL are real
TINY = replace(TAAEConfig.tiny(), sample_rate=1000, loudness_lufs=None)  # 25 frames per second
REAL = {"0/0000000000000": 50, "0/0000000000001": 31, "1/0010000000000": 8}


@pytest.fixture(scope="module")
def codec() -> TAAE:
    torch.manual_seed(0)
    codec = TAAE(TINY).eval()
    with torch.no_grad():
        codec.encoder.conv_out.weight *= 10  # else latents are so small that nearly any import looks right
    return codec


@pytest.fixture(scope="module")
def encoded(codec: TAAE) -> Encoded:
    generator = torch.Generator().manual_seed(0)
    audio = torch.rand(len(REAL), 1, FRAMES * codec.spec.hop_samples, generator=generator) - 0.5
    found = codec.encode(audio, codec.spec.sample_rate)
    assert 0.3 < found.latents.std() < 1
    return found


def write_pair(folder: Path, name: str, latents: np.ndarray, **metadata: Any) -> None:
    path = folder / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, latents)
    path.with_suffix(".json").write_text(json.dumps(metadata))


@pytest.fixture
def folder(codec: TAAE, encoded: Encoded, tmp_path: Path) -> Path:
    """The folder as two processes write it."""
    folder = tmp_path / "latents"
    values = codec.latents_to_values(encoded.latents)
    for number, (name, real) in enumerate(REAL.items()):
        metadata = {
            "path": f"/music/{number}.wav",
            "prompt": f"song {number}",
            "seconds_start": 3 * number,
            "seconds_total": 30,
            "padding_mask": [1] * real + [0] * (FRAMES - real),
        }
        write_pair(folder, name, values[number].T.numpy(), **metadata)
    (folder / "details.json").write_text(json.dumps({"sample_size": 32000, "args": {}}))
    return folder


def imported(folder: Path, codec: TAAE, output: str = "dataset", **options: Any) -> EncodeSummary:
    options = {"latents_are": "values", "dtype": "float32", "num_threads": 1, **options}
    config = EncodeConfig(source=str(folder), output=str(folder.parent / output), **options)
    return encode_dataset(config, tokenizer=codec)


def reasons(folder: Path) -> dict[str, str]:
    lines = (folder.parent / "dataset" / "failed.jsonl").read_text().splitlines()
    return {entry["path"]: entry["reason"] for entry in map(json.loads, lines)}


def test_values_become_the_latents_and_tokens_of_the_codec(codec: TAAE, encoded: Encoded, folder: Path) -> None:
    summary = imported(folder, codec)
    dataset = LatentDataset(folder.parent / "dataset")
    assert (summary.num_items, summary.num_failed) == (3, 0)
    assert [item.id for item in dataset] == [f"{name}.npy" for name in REAL]
    for number, (item, real) in enumerate(zip(dataset, REAL.values(), strict=True)):
        assert item.latents is not None
        torch.testing.assert_close(item.latents, encoded.latents[number, :real], atol=1e-5, rtol=1e-5)
        assert item.tokens is not None
        assert torch.equal(item.tokens, encoded.tokens[number, :real])
        assert item.num_samples == real * codec.spec.hop_samples
        assert (item.seconds_start, item.seconds_total) == (3 * number, 30)
        assert item.metadata["text"] == f"song {number}"
        assert item.metadata["path"] == f"/music/{number}.wav"
        assert not {"prompt", "padding_mask"} & set(item.metadata)
    assert verify_dataset(dataset.path) == []
    assert compare_with_source(dataset.path, folder) == []
    assert dataset.info["settings"]["latents_are"] == "values"


def test_atanh_is_the_output_of_the_encoder(encoded: Encoded, folder: Path) -> None:
    codec = TAAE(replace(TINY, latent_scale=0.5)).eval()
    z = encoded.latents[0].T.numpy().astype(np.float16)
    z[0, 0] = 9.0  # the clamp of `encode` is its as well
    write_pair(folder / "more", "z", z)
    imported(folder / "more", codec, latents_are="atanh")
    (item,) = LatentDataset(folder / "dataset")
    assert item.latents is not None
    want = torch.from_numpy(z.T.astype(np.float32)) / 0.5
    want[0, 0] = math.atanh(1 - 1e-5) / 0.5
    torch.testing.assert_close(item.latents, want)
    assert item.seconds_total == pytest.approx(2.0)


def test_values_of_tokens_keep_their_tokens(codec: TAAE, encoded: Encoded, folder: Path) -> None:
    """Values that a bottleneck gives in evaluation lie on its levels, of which the outer ones are -1 and 1."""
    tokens = encoded.tokens[:1].clone()
    tokens[0, 0], tokens[0, 1] = 0, codec.spec.codebook_sizes[0] - 1
    values = codec.tokens_to_values(tokens)
    assert values.min() == -1
    assert values.max() == 1
    write_pair(folder / "more", "levels", values[0].T.numpy().astype(np.float16))
    imported(folder / "more", codec, dtype="float16")
    (item,) = LatentDataset(folder / "dataset")
    assert item.tokens is not None
    assert torch.equal(item.tokens, tokens[0])
    assert item.latents is not None
    assert torch.equal(codec.latents_to_tokens(item.latents[None]), tokens)


def test_an_item_longer_than_a_file_of_audio_may_be_is_one_item(codec: TAAE, folder: Path) -> None:
    write_pair(folder / "more", "long", np.zeros((codec.spec.latent_dim, 25 * 100), np.float32), seconds_start=7)
    imported(folder / "more", codec)
    (item,) = LatentDataset(folder / "dataset")
    assert (item.duration_s, item.seconds_start, item.seconds_total) == (100.0, 7.0, 107.0)


def test_a_bad_item_is_one_line(codec: TAAE, folder: Path) -> None:
    width = codec.spec.latent_dim
    good = np.zeros((width, FRAMES), np.float32)
    bad: dict[str, tuple[np.ndarray, dict[str, Any], str]] = {
        "wide": (np.zeros((width + 1, FRAMES), np.float32), {}, "its shape is [7, 50], latents of this codec are [6, "),
        "flipped": (good.T, {}, "its shape is [50, 6]"),
        "batch": (good[None], {}, "its shape is [1, 6, 50]"),
        "tokens": (good.astype(np.int64), {}, "it holds int64, not latents"),
        "pickle": (np.array([{}, None]), {}, "it is not a whole array of NumPy (Array can't be memory-mapped"),
        "none": (good[:, :0], {}, "no frames"),
        "nan": (np.full_like(good, np.nan), {}, "it holds NaN or inf"),
        "beyond": (good + 1.25, {}, "it holds 1.25, values lie in [-1, 1]"),
        "short mask": (good, {"padding_mask": [1, 1]}, "padding_mask has 2 entries, the latents have 50 frames"),
        "strange mask": (good, {"padding_mask": "1111"}, "padding_mask has '1111'"),
        "gap": (good, {"padding_mask": [1, 0] * 25}, "not ones followed by zeros"),
        "fraction": (good, {"padding_mask": [1] * 49 + [0.5]}, "not ones followed by zeros"),
        "padding": (good, {"padding_mask": [0] * FRAMES}, "no frames but padding"),
        "start": (good, {"seconds_start": "3"}, "its seconds_start is '3', not a time in seconds"),
        "total": (good, {"seconds_total": 1e300}, "its seconds_total is 1e+300, not"),
        "negative": (good, {"seconds_start": -1}, "its seconds_start is -1"),
        "instant": (good, {"padding_mask": [1] * 2 + [0] * 48}, "shorter than min_duration_s"),
    }
    for name, (latents, metadata, _) in bad.items():
        write_pair(folder / "2", name, latents, **metadata)
    more = dict.fromkeys(("cut", "empty", "zip", "header"), "it is not a whole array of NumPy") | dict.fromkeys(
        ("list", "broken", "alone", "lost"), ""
    )
    for name in more:
        write_pair(folder / "2", name, good)
    with open(folder / "2" / "cut.npy", "r+b") as file:
        file.truncate(500)
    (folder / "2" / "empty.npy").write_bytes(b"")
    (folder / "2" / "header.npy").write_bytes((folder / "2" / "header.npy").read_bytes().replace(b"}", b"(", 1))
    np.savez(folder / "2" / "zip.npz", good)
    os.replace(folder / "2" / "zip.npz", folder / "2" / "zip.npy")
    (folder / "2" / "list.json").write_text("[1]")
    (folder / "2" / "broken.json").write_text('{"prompt": ')
    (folder / "2" / "alone.json").unlink()
    (folder / "2" / "lost.npy").unlink()
    more |= {"list": "it is list, not an object", "broken": "broken.json cannot be read"}
    more |= {"alone": "its metadata alone.json are missing", "lost": "its latents lost.npy are missing"}
    wanted = {name: reason for name, (_, _, reason) in bad.items()} | more

    summary = imported(folder, codec)
    assert (summary.num_items, summary.num_failed) == (3, len(wanted))
    found = reasons(folder)
    assert set(found) == {f"2/{name}.npy" for name in wanted}
    for name, reason in wanted.items():
        assert reason in found[f"2/{name}.npy"], name
        assert str(folder) not in found[f"2/{name}.npy"]


def test_a_source_that_changed_is_followed(codec: TAAE, encoded: Encoded, folder: Path) -> None:
    imported(folder, codec)
    again = imported(folder, codec)
    assert again.already_complete
    name = "0/0000000000001"
    metadata = json.loads((folder / f"{name}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**metadata, "prompt": "other", "padding_mask": [1] * FRAMES}))
    values = codec.latents_to_values(encoded.latents)
    write_pair(folder, "1/0010000000001", values[0].T.numpy())
    (folder / "1/0010000000000.npy").unlink()
    (folder / "1/0010000000000.json").unlink()
    assert len(compare_with_source(folder.parent / "dataset", folder)) == 2
    imported(folder, codec)
    items = {item.id: item for item in LatentDataset(folder.parent / "dataset")}
    assert set(items) == {"0/0000000000000.npy", f"{name}.npy", "1/0010000000001.npy"}
    assert items[f"{name}.npy"].metadata["text"] == "other"
    latents = items[f"{name}.npy"].latents
    assert latents is not None
    assert len(latents) == FRAMES
    with pytest.raises(MismatchError, match="latents_are was"):
        imported(folder, codec, latents_are="atanh")


def test_where_and_streams(codec: TAAE, folder: Path) -> None:
    imported(folder, codec, where={"text": "song 1"}, streams=("latents",))
    (item,) = LatentDataset(folder.parent / "dataset")
    assert item.id == "0/0000000000001.npy"
    assert item.tokens is None


def test_wrong_use_is_refused(codec: TAAE, folder: Path) -> None:
    with pytest.raises(ValueError, match="max_duration_s, loudness_lufs cannot be set with latents_are"):
        imported(folder, codec, loudness_lufs=-20.0, max_duration_s=10.0)
    with pytest.raises(ValueError, match=r"neither path_column nor captions\.audio"):
        imported(folder, codec, path_column="path")
    with pytest.raises(ValueError, match="is a file: give the folder"):
        imported(folder / "details.json", codec)
    with pytest.raises(FileNotFoundError, match="no latents at"):
        imported(folder / "nowhere", codec)
    with pytest.raises(ValueError, match="cannot be read from a URL"):
        encode_dataset(
            EncodeConfig(source="memory://x", output=str(folder.parent / "dataset"), latents_are="values"),
            tokenizer=codec,
        )
    (folder.parent / "audio").mkdir()
    (folder.parent / "audio" / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="no file has the suffix"):
        imported(folder.parent / "audio", codec)
    with pytest.raises(ValueError, match="latents_are says what they are"):
        imported(folder, codec, latents_are=None)
    write_pair(folder.parent / "alone", "x", np.full((6, 9), 2.0))
    with pytest.raises(AudioError, match="nothing could be encoded"):
        imported(folder.parent / "alone", codec)
    with pytest.raises(ConfigError, match="no latent_scale"):
        latent_scale(SimpleNamespace(settings=object()))  # type: ignore[arg-type]


def test_the_sound_of_latents_has_no_embedding(codec: TAAE, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    imported(folder, codec)
    monkeypatch.setattr(
        "latentune.pipelines.data.shards.embed.load_frozen", lambda _: SimpleNamespace(takes_audio=True)
    )
    with pytest.raises(ConfigError, match="was made of latents"):
        store_embeddings(folder.parent / "dataset", "audio", "clap:x.pt")
