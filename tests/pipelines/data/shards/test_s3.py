"""Source, output and reading on an S3 server of the loopback (moto)."""

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
import torch

from latentune.core import storage
from latentune.core.errors import StorageError
from latentune.pipelines.data.audio.find import find_audio
from latentune.pipelines.data.shards.read import LatentDataset

moto_server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")


@pytest.fixture
def bucket(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    variables = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
        "LATENTUNE_CACHE": str(tmp_path / "cache"),
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    system = s3fs.S3FileSystem()
    system.mkdir("bucket")
    system.put(f"{corpus}/", "bucket/audio/", recursive=True)
    yield "s3://bucket"
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


def test_from_s3_to_s3(encode, corpus: Path, tmp_path: Path, bucket: str) -> None:
    encode("plain", source=str(corpus / "manifest.jsonl"))
    first = encode(output=f"{bucket}/data", source=f"{bucket}/audio/manifest.jsonl")
    assert first.num_items == len(LatentDataset(tmp_path / "plain"))
    assert encode(output=f"{bucket}/data", source=f"{bucket}/audio/manifest.jsonl").already_complete
    there, here = LatentDataset(f"{bucket}/data"), LatentDataset(tmp_path / "plain")
    assert [item.id for item in there] == [item.id for item in here]
    assert all(torch.equal(one.tokens, other.tokens) for one, other in zip(there, here, strict=True))
    assert not (tmp_path / "s3:").exists()
    assert len(find_audio(f"{bucket}/audio")) == len(find_audio(corpus))


def test_what_is_not_there_or_not_allowed(encode, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "WAIT_S", 0.0)
    with pytest.raises(FileNotFoundError, match="no audio at s3://bucket/nothing"):
        find_audio(f"{bucket}/nothing")
    with pytest.raises(FileNotFoundError, match="no audio at s3://nowhere/audio"):
        find_audio("s3://nowhere/audio")
    with pytest.raises(StorageError, match="cannot write s3://nowhere/data/"):
        encode(output="s3://nowhere/data", source=f"{bucket}/audio")
