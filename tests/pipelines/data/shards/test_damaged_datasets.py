"""Damaged datasets are found by `info --verify` or when they are opened; no other error is raised."""

import shutil
from pathlib import Path

import pytest
from made_dataset import make_dataset
from mutations import damaged, damaged_text

from latentune.core.errors import LatentuneError
from latentune.pipelines.data.shards.read import LatentDataset
from latentune.pipelines.info import dataset_info

SHARD_COPIES, FILE_COPIES = 264, 18


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("made"), seconds=(0.2, 0.3, 0.4))["data"]


def check(folder: Path, path: Path, content: bytes) -> str:
    """Returns what was found: `refused`, `verified` or `nothing`."""
    whole = path.read_bytes()
    path.write_bytes(content)
    try:
        for item in LatentDataset(folder):
            assert item.tokens is not None
        found = "verified" if dataset_info(folder, verify=True)["problems"] else "nothing"
    except LatentuneError as error:
        found = "refused" if str(folder) in str(error) else f"a message without the path: {error}"
    finally:
        path.write_bytes(whole)
    assert found in ("refused", "verified", "nothing")
    return found


@pytest.mark.slow
def test_damaged_shards(made: Path) -> None:
    (path,) = (made / "shards").iterdir()
    whole = path.read_bytes()
    for number in range(SHARD_COPIES):
        content = damaged(whole, number)
        assert content == whole or check(made, path, content) != "nothing", number


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dataset.json", "index.parquet", "silence.safetensors", "failed.jsonl", "plan"])
def test_damaged_files_of_a_dataset(name: str, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(made, folder)
    paths = sorted(folder.glob("plan*")) if name == "plan" else [folder / name]
    for path in paths:
        whole = path.read_bytes() or b"\n"
        for number in range(FILE_COPIES):
            text = path.suffix in (".json", ".jsonl")
            content = damaged_text(whole.decode(), number) if text else damaged(whole, number)
            found = check(folder, path, content)
            # what changed in dataset.json need not be wrong: it is where the hashes of the others are
            assert name == "dataset.json" or content == path.read_bytes() or found != "nothing", number
