"""Datasets on remote storage: written to, completed, and read from a URL."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from latentune.core import storage
from latentune.core.errors import DatasetError, MismatchError, StorageError
from latentune.core.outputs import prepare_output
from latentune.pipelines.data.shards import remote
from latentune.pipelines.data.shards.read import LatentDataset
from latentune.pipelines.info import dataset_info

MEMORY = fsspec.filesystem("memory")
URL = "memory://bucket/data"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LATENTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(storage, "WAIT_S", 0.0)
    yield tmp_path / "cache"
    if MEMORY.exists("/bucket"):
        MEMORY.rm("/bucket", recursive=True)


def stored() -> dict[str, bytes]:
    """The files in the bucket."""
    return {name.removeprefix("/bucket/data/"): MEMORY.cat_file(name) for name in MEMORY.find("/bucket/data")}


def test_a_dataset_is_written_to_a_url_and_read_from_there(encode, read_tree, tmp_path, caches) -> None:
    encode("plain")
    encode(output=URL)
    plain = {name: data for name, data in read_tree(tmp_path / "plain").items() if not name.startswith(".")}
    assert stored() == plain
    assert not (tmp_path / "memory:").exists()
    shutil.rmtree(caches)  # another machine
    there, here = LatentDataset(URL), LatentDataset(tmp_path / "plain")
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(there, here, strict=True))
    assert dataset_info(URL, verify=True)["problems"] == []


def test_a_run_continues_on_another_machine(encode, read_tree, tmp_path, caches, monkeypatch) -> None:
    encode("plain")
    monkeypatch.setattr(remote, "UPLOAD_EVERY_S", 0.0)

    def stop(state):
        if state.phase == "encode" and state.items_done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode(output=URL, progress=stop)
    partial = stored()
    assert any(name.startswith("shards/") for name in partial)
    assert not json.loads(partial["dataset.json"])["complete"]
    with pytest.raises(DatasetError, match="is not complete"):
        LatentDataset(URL)
    shutil.rmtree(caches)
    summary = encode(output=URL)
    assert summary.path == URL
    assert 0 < summary.num_shards_encoded < summary.num_shards
    assert stored() == {k: v for k, v in read_tree(tmp_path / "plain").items() if not k.startswith(".")}
    shutil.rmtree(caches)
    assert encode(output=URL).already_complete


def test_what_is_gone_is_removed_there_and_a_reader_follows(encode, corpus, tmp_path) -> None:
    source = tmp_path / "source"
    shutil.copytree(corpus, source)
    encode(output=URL, source=str(source))
    before = len(LatentDataset(URL))
    plans = [name for name in stored() if name.startswith("plan")]
    (source / "a.wav").unlink()
    encode(output=URL, source=str(source))
    assert len(LatentDataset(URL)) == before - 1
    assert not set(plans) & set(stored())
    with pytest.raises(MismatchError, match="max_duration_s was"):
        encode(output=URL, source=str(source), max_duration_s=0.9)


def test_damage_is_told(encode, caches, monkeypatch) -> None:
    encode(output=URL)
    name = next(name for name in stored() if name.startswith("shards/"))
    good = MEMORY.cat_file(f"/bucket/data/{name}")
    MEMORY.pipe_file(f"/bucket/data/{name}", good[:-1] + b"?")
    with pytest.raises(DatasetError, match=f"{URL}/{name} is corrupt, or was changed"):
        LatentDataset(URL)
    MEMORY.rm(f"/bucket/data/{name}")
    with pytest.raises(DatasetError, match=f"{URL} lacks {name}"):
        LatentDataset(URL)
    MEMORY.pipe_file(f"/bucket/data/{name}", good)
    assert len(LatentDataset(URL))
    fetched = []
    fetch = storage.UrlFile.fetch
    monkeypatch.setattr(storage.UrlFile, "fetch", lambda self, to: (fetched.append(self.name), fetch(self, to)))
    assert len(LatentDataset(URL))
    assert fetched == ["dataset.json"]
    with pytest.raises(DatasetError, match="no dataset at memory://bucket/nothing"):
        LatentDataset("memory://bucket/nothing")


def test_storage_that_takes_nothing_is_told(encode, monkeypatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "put_file", refuse)
    with pytest.raises(StorageError, match=rf"cannot write {URL}/.* \(Access Denied\): check the address"):
        encode(output=URL)


def test_several_processes_do_not_write_to_a_url(encode, monkeypatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="one process alone can encode to memory://"):
        encode(output=URL)


def test_other_outputs_are_no_urls(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("s3://bucket/x", Path("s3://bucket/x"), Path("s3://bucket/x").absolute().parent):
        with pytest.raises(ValueError, match=r"cannot write to .*s3:/"):
            prepare_output(place)
    assert list(tmp_path.iterdir()) == []
