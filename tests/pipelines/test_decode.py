"""A dataset decoded back to files: exact lengths, the right tokenizer, noise that belongs to the item."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from latentune.core.errors import DatasetError, MismatchError
from latentune.pipelines.decode import DecodeConfig, decode_dataset
from latentune.pipelines.encode import EncodeConfig, encode_dataset

LENGTHS = {"a.wav": 4801, "b.wav": 700, "c.wav": 9000}


@pytest.fixture(scope="module")
def dataset(tiny_codec: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decode")
    (folder / "in").mkdir()
    noise = np.random.default_rng(0)
    for name, length in LENGTHS.items():
        soundfile.write(folder / "in" / name, noise.normal(0, 0.1, (length, 2)), 48000, subtype="PCM_24")
    tiny_codec.save_pretrained(str(folder / "codec"))
    encode_dataset(
        EncodeConfig(
            source=str(folder / "in"),
            output=str(folder / "data"),
            tokenizer=str(folder / "codec"),
            min_duration_s=0.01,
            dtype="float32",
        )
    )
    return folder / "data"


def decode(dataset: Path, output: Path, *, tokenizer: Any = None, progress: Any = None, **settings: Any) -> Any:
    config = DecodeConfig(dataset=str(dataset), output=str(output), **settings)
    return decode_dataset(config, tokenizer=tokenizer, progress=progress)


def read(folder: Path, record: dict[str, Any]) -> torch.Tensor:
    return torch.from_numpy(soundfile.read(folder / record["file"], dtype="float32")[0])


def test_each_item_comes_back_with_its_length_and_what_the_codec_decodes(
    dataset: Path, tiny_codec: Any, tmp_path: Path
) -> None:
    steps: list[tuple[int, int]] = []
    records = decode(
        dataset, tmp_path, subtype="FLOAT", progress=lambda *s: steps.append(s), options={"steps": 1}, seed=5
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert {r["id"]: len(read(tmp_path, r)) for r in records} == LENGTHS
    assert json.loads((tmp_path / "decode.json").read_text())["items"] == records
    source = dataset.parent / "in" / records[1]["id"]
    audio = torch.from_numpy(soundfile.read(source, dtype="float32")[0].T)
    encoded = tiny_codec.encode(audio[None], 48000)
    direct = tiny_codec.decode(
        latents=encoded.latents,
        lengths_samples=encoded.lengths_samples,
        generator=torch.Generator().manual_seed(5 + records[1]["index"]),
        steps=1,
    )
    scale = float(direct.abs().max())
    assert float((read(tmp_path, records[1]).T - direct[0]).abs().max()) < 1e-3 * scale


def test_an_item_decodes_the_same_alone_and_among_others(dataset: Path, tmp_path: Path) -> None:
    all_of_them = decode(dataset, tmp_path / "all", stream="tokens", options={"steps": 1})
    alone = decode(dataset, tmp_path / "one", stream="tokens", options={"steps": 1}, ids=("c.wav",))
    assert [r["id"] for r in alone] == ["c.wav"]
    same = next(r for r in all_of_them if r["id"] == "c.wav")
    assert (tmp_path / "one" / alone[0]["file"]).read_bytes() == (tmp_path / "all" / same["file"]).read_bytes()
    assert [r["id"] for r in decode(dataset, tmp_path / "two", num=2, options={"steps": 1})] == [
        r["id"] for r in all_of_them[:2]
    ]


def test_another_tokenizer_is_refused(dataset: Path, tiny_codec: Any, tmp_path: Path) -> None:
    other = type(tiny_codec)(tiny_codec.settings)
    with torch.no_grad():
        next(other.parameters()).add_(1.0)
    with pytest.raises(MismatchError, match="not with this tokenizer"):
        decode(dataset, tmp_path, tokenizer=other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stream": "mel"}, "stream must be 'latents' or 'tokens'"),
        ({"ids": ("a.waw",)}, "did you mean 'a.wav'"),
        ({"num": 0}, "num must be at least 1"),
        ({"subtype": "PCM_12"}, "PCM_12"),
        ({"options": {"step": 3}}, "step"),
        ({"options": {"steps": "abc"}}, "steps: 'abc' is not one of|steps: expected int"),
        ({"options": {"mode": "guess"}}, "mode: got 'guess', allowed: 'parallel', 'autoregressive'"),
        ({"options": {"gain_db": 3}}, "decode has no option gain_db"),  # of the item, not the caller's
    ],
)
def test_bad_options_are_refused(dataset: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        decode(dataset, tmp_path, **options)


def test_a_folder_that_is_no_dataset_and_an_output_that_cannot_be_written(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a dataset"):
        decode(tmp_path, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another output"):
        decode(dataset, tmp_path / "file")


def test_a_second_decoding_replaces_the_first_and_refuses_audio_of_others(dataset: Path, tmp_path: Path) -> None:
    first = decode(dataset, tmp_path / "out", options={"steps": 1})
    decode(dataset, tmp_path / "out", ids=("c.wav",), options={"steps": 1})
    assert len(first) == 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [first[2]["file"], "decode.json"]
    soundfile.write(tmp_path / "out" / "theirs.wav", np.zeros(100), 48000)
    with pytest.raises(ValueError, match=r"decode\.json does not list, theirs\.wav"):
        decode(dataset, tmp_path / "out")
    assert (tmp_path / "out" / "theirs.wav").exists()


@pytest.mark.parametrize("place", [".", "shards", "decoded/here"])
def test_a_dataset_is_not_decoded_into_itself(dataset: Path, place: str) -> None:
    before = sorted(dataset.rglob("*"))
    with pytest.raises(ValueError, match="is a dataset; choose another output"):
        decode(dataset, dataset / place)
    assert sorted(dataset.rglob("*")) == before
