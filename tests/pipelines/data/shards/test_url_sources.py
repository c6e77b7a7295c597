"""Sources on remote storage: the same items as from a folder, one temporary copy at a time."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch

from latentune.core import storage
from latentune.core.errors import AudioError, MissingPackageError, StorageError
from latentune.core.file_cache import FileCache
from latentune.core.storage import UrlFile, UrlFolder
from latentune.pipelines.data.audio import places
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.data.audio.item import AudioItem
from latentune.pipelines.data.audio.read import AudioFile, read_audio


@pytest.fixture
def bucket(corpus: Path) -> Iterator[str]:
    """The corpus in fsspec's memory."""
    memory = fsspec.filesystem("memory")
    for path in corpus.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/corpus/{path.relative_to(corpus)}", path.read_bytes())
    memory.pipe_file("/bucket/corpus/.hidden/x.wav", b"x")
    yield "memory://bucket/corpus"
    memory.rm("/bucket", recursive=True)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAIT_S", 0.0)


def outcome(item: AudioItem) -> str:
    """Hash of the audio with rate and length, or why it cannot be read."""
    try:
        audio, rate = item.read()
    except AudioError as error:
        return str(error).removeprefix(str(item.path))
    return f"{hashlib.sha256(audio.numpy().tobytes()).hexdigest()} {rate} {item.probe()}"


@pytest.mark.parametrize("end", ["", "/", "/manifest.jsonl", "/sub", "/a.wav"])
@pytest.mark.parametrize("scheme", ["memory", "file"])
def test_a_url_gives_what_a_path_gives(bucket: str, corpus: Path, end: str, scheme: str) -> None:
    local = find_audio(f"{corpus}{end}")
    found = find_audio((bucket if scheme == "memory" else f"file://{corpus}") + end)
    assert [(item.name, item.metadata) for item in found] == [(item.name, item.metadata) for item in local]
    for one, other in zip(found, local, strict=True):
        assert outcome(one) == outcome(other)


def test_paths_of_a_local_manifest_may_be_urls(bucket: str, corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"path": f"{bucket}/a.wav", "text": "a"}) + "\n")
    (item,) = find_audio(tmp_path / "manifest.jsonl")
    assert torch.equal(item.read()[0], read_audio(corpus / "a.wav")[0])


def test_what_is_not_there_is_told(bucket: str) -> None:
    with pytest.raises(FileNotFoundError, match="no audio at memory://bucket/nothing: there is no such file or folder"):
        find_audio("memory://bucket/nothing")
    with pytest.raises(AudioError, match=r"memory://bucket/corpus/no.wav: no such file"):
        AudioFile(UrlFile(f"{bucket}/no.wav"))
    with pytest.raises(StorageError, match="there is no storage called nonsense://"):
        find_audio("nonsense://bucket/a.wav")


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(MissingPackageError, match="s3:// needs s3fs: pip install s3fs"):
        find_audio("s3://bucket/a.wav")


def test_storage_that_does_not_answer_is_asked_again_and_ends_the_run(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage must not look like broken files, which are left out."""
    monkeypatch.setattr(places, "cache", FileCache())  # an empty one
    asked = []
    get_file = fsspec.implementations.memory.MemoryFileSystem.get_file

    def flaky(self: object, *arguments: object, **options: object) -> None:
        asked.append(1)
        if len(asked) % 3:
            raise ConnectionError("connection reset")
        get_file(self, *arguments, **options)

    monkeypatch.setattr(fsspec.implementations.memory.MemoryFileSystem, "get_file", flaky)
    assert find_audio(f"{bucket}/a.wav")[0].read()[1] == 8000
    assert len(asked) == 3
    monkeypatch.setattr(storage, "ATTEMPTS", 2)
    with pytest.raises(StorageError, match=r"memory://bucket/corpus/b.flac: .*does not answer .connection reset"):
        find_audio(f"{bucket}/b.flac")[0].read()


def test_a_copy_is_shared_and_removed_when_there_is_no_room(tmp_path: Path) -> None:
    made = []

    def make(path: Path) -> None:
        made.append(path)
        path.write_bytes(bytes(100))

    cache = FileCache(limit_bytes=250)
    with cache.lease("a", ".wav", make) as one, cache.lease("a", ".wav", make) as other:
        assert one == other
        assert one.suffix == ".wav"
    for key in "bcd":
        with cache.lease(key, "", make):
            pass
    assert [path.exists() for path in made] == [False, False, True, True]
    with cache.lease("d", "", make), cache.lease("a", "", make):
        pass
    assert len(made) == 5
    with pytest.raises(OSError, match="gone"), cache.lease("e", "", _fails):
        pass
    with cache.lease("e", "", make) as path:
        assert path.stat().st_size == 100


def _fails(path: Path) -> None:
    raise OSError("gone")


def test_files_are_listed_with_size_and_time(bucket: str, corpus: Path) -> None:
    files = dict(UrlFolder(bucket).files())
    assert files["a.wav"].size == (corpus / "a.wav").stat().st_size
    assert files["a.wav"].mtime_ns > 1e18
    assert files["a.wav"].facts() == UrlFile(f"{bucket}/a.wav").facts()
