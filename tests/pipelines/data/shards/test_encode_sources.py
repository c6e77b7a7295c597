"""Datasets of sources other than a folder of files: the same items, whatever they are read from."""

import io
import json
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest
import torch

from latentune.pipelines.data.shards.read import LatentDataset


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size, facts.mtime = len(content), 1_700_000_000
            archive.addfile(facts, io.BytesIO(content))


def webdataset(corpus: Path, folder: Path) -> Path:
    """Two archives in WebDataset's layout, with a broken recording and broken metadata."""
    folder.mkdir()
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    members = []
    for number, row in enumerate(rows[:-1]):  # the last one is missing
        path = corpus / row.pop("path")
        key = f"{number:04d}"
        members.append({f"{key}{path.suffix}": path.read_bytes(), f"{key}.json": json.dumps(row).encode()})
    members.append({"bad.wav": (corpus / "a.wav").read_bytes(), "bad.json": b"{"})
    members.append({"silent.txt": b"no audio"})
    for number in range(2):
        write_tar(folder / f"{number:06d}.tar", {k: v for sample in members[number::2] for k, v in sample.items()})
    return folder


def hf_table(corpus: Path) -> pyarrow.Table:
    """As `datasets` stores a column of the feature Audio."""
    rows = [json.loads(line) for line in (corpus / "manifest.jsonl").read_text().splitlines()]
    names = [row.pop("path") for row in rows]
    contents = [(corpus / name).read_bytes() if (corpus / name).exists() else None for name in names]
    audio = [{"bytes": content, "path": name} for name, content in zip(names, contents, strict=True)]
    kind = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return pyarrow.table({"audio": pyarrow.array(audio, kind), **columns})


def contents(folder: Path) -> dict[str, tuple[str, torch.Tensor]]:
    """Text -> label and tokens of each item."""
    found = {}
    for item in LatentDataset(folder):
        key = f"{item.metadata['text']} at {item.seconds_start}"
        found[key] = (item.metadata["label"], item.tokens)
    return found


def assert_same(one: Path, other: Path) -> None:
    first, second = contents(one), contents(other)
    assert first.keys() == second.keys()
    for key, (label, tokens) in first.items():
        assert label == second[key][0]
        assert torch.equal(tokens, second[key][1])


def failures(folder: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in (folder / "failed.jsonl").read_text().splitlines()]
    return {row["path"]: row["reason"] for row in rows}


@pytest.fixture
def plain(encode, corpus: Path, tmp_path: Path) -> Path:
    encode(source=str(corpus / "manifest.jsonl"), output=str(tmp_path / "plain"))
    return tmp_path / "plain"


def test_webdataset(encode, corpus: Path, plain: Path, tmp_path: Path) -> None:
    source = webdataset(corpus, tmp_path / "wds")
    encode(source=str(source), output=str(tmp_path / "out"))
    assert_same(plain, tmp_path / "out")
    found = failures(tmp_path / "out")
    assert "bad.json cannot be read" in found["000000.tar/bad.wav"]
    assert found["000001.tar/silent"] == "the sample has no audio"
    assert sum("cannot be decoded" in reason for reason in found.values()) == 1
    assert encode(source=str(source), output=str(tmp_path / "out")).already_complete
    # one archive alone, and one more later
    encode(source=str(source / "000000.tar"), output=str(tmp_path / "one"))
    assert contents(tmp_path / "one").keys() < contents(plain).keys()


def test_an_archive_that_is_cut_off(encode, corpus: Path, plain: Path, tmp_path: Path) -> None:
    source = webdataset(corpus, tmp_path / "wds") / "000000.tar"
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    summary = encode(source=str(source.parent), output=str(tmp_path / "out"))
    assert any("000000.tar" in failure.path for failure in summary.failures)
    assert contents(tmp_path / "out").keys() < contents(plain).keys()
    source.write_bytes(b"nothing of the kind" * 100)
    summary = encode(source=str(source.parent), output=str(tmp_path / "broken"))
    assert "not a whole tar archive" in failures(tmp_path / "broken")["000000.tar"]


@pytest.mark.parametrize("layout", ["parquet", "arrow", "saved"])
def test_hf_datasets(encode, corpus: Path, plain: Path, tmp_path: Path, layout: str) -> None:
    table = hf_table(corpus)
    (tmp_path / "hf").mkdir()
    if layout == "parquet":
        source = tmp_path / "hf" / "train.parquet"
        pyarrow.parquet.write_table(table, source, row_group_size=4)
    else:
        source = tmp_path / "hf" / ("data-00000-of-00001.arrow" if layout == "saved" else "train.arrow")
        with pyarrow.ipc.new_stream(source, table.schema) as writer:
            writer.write_table(table, max_chunksize=4)
        if layout == "saved":  # as `Dataset.save_to_disk` does
            (tmp_path / "hf" / "state.json").write_text(json.dumps({"_data_files": [{"filename": source.name}]}))
            (tmp_path / "hf" / "dataset_info.json").write_text("{}")
            source = source.parent
    encode(source=str(source), output=str(tmp_path / "out"))
    assert_same(plain, tmp_path / "out")
    found = failures(tmp_path / "out")
    assert len(found) == 7
    assert any(reason == "holds no audio, only the path missing.wav" for reason in found.values())


def test_a_table_without_audio(encode, tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "hf" / "train.parquet")
    with pytest.raises(Exception, match=r"has no column of audio with bytes and path .its columns: x"):
        encode(source=str(tmp_path / "hf"), output=str(tmp_path / "out"))
    (tmp_path / "hf" / "train.parquet").write_bytes(b"PAR1")
    with pytest.raises(Exception, match=r"is not a readable .parquet file"):
        encode(source=str(tmp_path / "hf"), output=str(tmp_path / "out"))


@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_a_source_on_remote_storage(encode, corpus: Path, plain: Path, tmp_path: Path, layout: str) -> None:
    memory = fsspec.filesystem("memory")
    folder = corpus if layout == "files" else webdataset(corpus, tmp_path / "wds")
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/{layout}/{path.relative_to(folder)}", path.read_bytes())
    source = f"memory://{layout}" + ("/manifest.jsonl" if layout == "files" else "")
    encode(source=source, output=str(tmp_path / "out"))
    assert_same(plain, tmp_path / "out")
    assert encode(source=source, output=str(tmp_path / "out")).already_complete
    before = np.array(LatentDataset(tmp_path / "out").latent_mean)
    if layout == "files":  # what changed there is encoded again
        memory.pipe_file("/files/a.wav", (corpus / "e.wav").read_bytes())
        summary = encode(source=source, output=str(tmp_path / "out"))
        assert summary.num_shards_encoded
        assert not np.array_equal(before, LatentDataset(tmp_path / "out").latent_mean)
    memory.rm(f"/{layout}", recursive=True)
