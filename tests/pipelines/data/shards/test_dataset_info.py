"""`latentune info`: the facts, and what `verify` finds."""

import io
import json
import shutil

import numpy as np
import pyarrow.parquet
import pytest
import torch
from made_dataset import make_dataset
from rich.console import Console
from safetensors.torch import load_file, save_file
from token_analysis import analyse_tokens

from latentune.core.errors import DatasetError
from latentune.core.files import file_sha256
from latentune.pipelines.data.shards.read import LatentDataset
from latentune.pipelines.info import dataset_info, render


@pytest.fixture
def folder(encode, corpus, tmp_path):
    encode(source=str(corpus / "manifest.jsonl"))
    return tmp_path / "dataset"


def shown(facts) -> str:
    console = Console(width=200, file=io.StringIO())
    console.print(render(facts))
    return console.file.getvalue()


def test_facts_of_a_sound_dataset(folder):
    seen = []
    facts = dataset_info(folder, verify=True, progress=lambda *done: seen.append(done))
    assert facts["complete"]
    assert (facts["num_items"], facts["num_failed"]) == (9, 7)
    assert facts["hours"] * 3600 == pytest.approx(0.5 + 2.35 + 0.9 + 0.31 + 1.2 + 0.32, abs=0.01)
    assert facts["metadata_columns"] == ["label", "tags", "text"]
    assert facts["problems"] == []
    assert seen[-1][0] == seen[-1][1] == facts["num_shards"]
    assert "codebooks of 25, 400" in facts["tokens"]
    json.dumps(facts, allow_nan=False)
    text = shown(facts)
    for part in ("complete", "9", "7 (failed.jsonl)", "label, tags, text", "CC0-1.0", "no problems found"):
        assert part in text


def _begin_of(shard: bytes, name: str) -> int:
    """Where in a shard's bytes a tensor's data begin."""
    header = int.from_bytes(shard[:8], "little")
    return 8 + header + json.loads(shard[8 : 8 + header])[name]["data_offsets"][0]


def test_a_flipped_bit_is_found(folder):
    shard = folder / "shards" / "00001.safetensors"
    data = bytearray(shard.read_bytes())
    data[_begin_of(data, "latents")] ^= 1
    shard.write_bytes(data)
    (problem,) = [p for p in dataset_info(folder, verify=True)["problems"] if "hash" in p]
    assert str(shard) in problem
    assert "run encode again" in problem
    assert "problem: " in shown(dataset_info(folder, verify=True))


def test_nan_in_a_shard_without_hash_is_found(encode_a_part, tmp_path):
    encode_a_part()
    shard = tmp_path / "dataset" / "shards" / "00000.safetensors"
    data = shard.read_bytes()
    begin = _begin_of(data, "latents")
    shard.write_bytes(data[:begin] + np.float16(np.nan).tobytes() + data[begin + 2 :])
    facts = dataset_info(tmp_path / "dataset", verify=True)
    assert any("is not complete" in p for p in facts["problems"])
    assert any("NaN" in p and str(shard) in p for p in facts["problems"])
    assert "run encode again to finish it" in shown(facts)


def test_unreadable_metadata_name_the_shard(folder):
    shard = folder / "shards" / "00001.safetensors"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1] + b"|")  # metadata come last
    problems = dataset_info(folder, verify=True)["problems"]
    assert any("00001.safetensors is corrupt (item 1 has no readable metadata)" in problem for problem in problems)
    (folder / "index.parquet").unlink()
    with pytest.raises(DatasetError, match=r"index.parquet is missing or corrupt .*encode again to rebuild it"):
        dataset_info(folder)
    with pytest.raises(DatasetError, match=r"00001.safetensors is corrupt \(item 1 has no readable metadata\)"):
        dataset_info(folder, verify=True)


def test_an_index_of_other_items_is_found(folder):
    table = pyarrow.parquet.read_table(folder / "index.parquet")
    texts = pyarrow.array([f"not {text}" for text in table["text"].to_pylist()])
    changed = table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), texts)
    pyarrow.parquet.write_table(changed, folder / "index.parquet")
    info = json.loads((folder / "dataset.json").read_text())
    info["files"]["index.parquet"] = file_sha256(folder / "index.parquet")
    (folder / "dataset.json").write_text(json.dumps(info))
    (problem,) = dataset_info(folder, verify=True)["problems"]
    assert "does not hold what the shards hold" in problem


def test_broken_index_is_found(folder):
    (folder / "index.parquet").write_bytes(b"nonsense")
    (problem,) = dataset_info(folder, verify=True)["problems"]
    assert "index.parquet" in problem
    assert "delete it and run encode again" in problem


def test_tokens_are_counted_on_demand(folder):
    assert "token_analysis" not in dataset_info(folder)
    facts = dataset_info(folder, codebook=True)
    books = facts["token_analysis"]["codebooks"]
    tokens = torch.cat([item.tokens for item in LatentDataset(folder)])
    assert [book["size"] for book in books] == [25, 400]
    assert [book["num_tokens"] for book in books] == [len(tokens)] * 2
    assert [book["num_used"] for book in books] == [len(set(column)) for column in tokens.T.tolist()]
    assert facts["token_analysis"] == analyse_tokens(tokens, LatentDataset(folder).spec).to_dict()
    json.dumps(facts, allow_nan=False)
    text = shown(facts)
    for part in (f"of 400 ({books[1]['used_share']:.2%})", f"{books[0]['huffman_bits']:.3f}", "bit/s by Huffman code"):
        assert part in text
    assert "come out too low" in text  # a handful of tokens cannot fill 400 entries


def test_a_dataset_without_tokens_says_so(encode, tmp_path):
    encode(streams=["latents"])
    with pytest.raises(DatasetError, match=r"dataset holds no tokens: encode with `--stream tokens` to analyse them"):
        dataset_info(tmp_path / "dataset", codebook=True)


def test_not_a_dataset(tmp_path):
    with pytest.raises(DatasetError, match=r"holds no dataset\.json"):
        dataset_info(tmp_path)


@pytest.mark.parametrize(
    "name", ["plan.parquet", "sources.parquet", "failed.jsonl", "silence.safetensors", "index.parquet"]
)
def test_other_files_are_compared_with_their_hashes(folder, name):
    with open(folder / name, "ab") as file:
        file.write(b" ")
    assert any(name in problem for problem in dataset_info(folder, verify=True)["problems"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda info: info["latent_mean"].__setitem__(0, 9.0), "latent_mean is not that of the shards"),
        (lambda info: info["latent_std"].append(1.0), "latent_std is not that of the shards"),
        (lambda info: info["totals"].update(num_tokens=3), "num_tokens is 3"),
        (lambda info: info["totals"].update(duration_s=3.0), "duration_s is 3.0"),
    ],
)
def test_recorded_numbers_are_computed_again(folder, change, message):
    info = json.loads((folder / "dataset.json").read_text())
    change(info)
    (folder / "dataset.json").write_text(json.dumps(info))
    (problem,) = dataset_info(folder, verify=True)["problems"]
    assert message in problem


def test_a_source_is_compared_by_content(folder, corpus, tmp_path):
    source = tmp_path / "copy"
    shutil.copytree(corpus, source)
    assert dataset_info(folder, against=source / "manifest.jsonl")["problems"] == []
    data = bytearray((source / "a.wav").read_bytes())
    data[-1] ^= 1
    (source / "a.wav").write_bytes(data)
    (source / "b.flac").unlink()
    shutil.copy(source / "d.wav", source / "new.wav")
    found = dataset_info(folder, against=source)["problems"]
    assert [problem.partition(" ")[0] for problem in found] == ["a.wav", "b.flac", "new.wav"]
    for part, problem in zip(("other content", "but not in", "but not in the dataset"), found, strict=True):
        assert part in problem


def _record(folder, **hashes):
    """Writes hashes of files to dataset.json, as if the files were those that were written."""
    info = json.loads((folder / "dataset.json").read_text())
    info["files"] |= hashes
    (folder / "dataset.json").write_text(json.dumps(info))


def test_spec_and_silence_are_compared_with_the_codec_that_is_at_hand(tmp_path):
    made = make_dataset(tmp_path, seconds=(0.2,))
    folder, silence = made["data"], made["data"] / "silence.safetensors"
    assert dataset_info(folder, verify=True)["problems"] == []
    streams = load_file(silence)
    save_file({**streams, "latents": streams["latents"] + 0.5}, silence)
    _record(folder, **{silence.name: file_sha256(silence)})
    (problem,) = dataset_info(folder, verify=True)["problems"]
    assert "does not hold the silence of the codec" in problem
    save_file(streams, silence)
    info = json.loads((folder / "dataset.json").read_text())
    info["tokenizer"]["spec"]["sample_rate"] = 44100
    info["files"][silence.name] = file_sha256(silence)
    (folder / "dataset.json").write_text(json.dumps(info))
    assert any("the spec is not that of" in problem for problem in dataset_info(folder, verify=True)["problems"])


def test_a_codec_that_is_not_at_hand_is_no_problem(tmp_path, caplog):
    made = make_dataset(tmp_path, seconds=(0.2,))
    made["codec"].rename(tmp_path / "moved")
    with caplog.at_level("INFO"):
        assert dataset_info(made["data"], verify=True)["problems"] == []
    assert "is not on this machine" in caplog.text
