"""Many shards under a low limit of open files."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from latentune.pipelines.data.shards import ShardSettings
from latentune.pipelines.data.shards.open_maps import OpenMaps, most_maps
from latentune.pipelines.data.shards.plan import PlannedItem
from latentune.pipelines.data.shards.shard import EncodedItem, ShardFile, write_shard

resource = pytest.importorskip("resource")
NUM_SHARDS, LIMIT = 2000, 256
READ_ALL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), int(sys.argv[2])))
from pathlib import Path
from latentune.pipelines.data.shards.shard import ShardFile
shards = [ShardFile(path) for path in sorted(Path(sys.argv[1]).iterdir())]
views = [shard.array("latents") for shard in shards[:20]]  # what is in use stays readable
total = sum(float(shard.stream("latents", 0).sum()) for _ in range(2) for shard in shards)
print(len(shards), total, sum(float(view.sum()) for view in views))
"""


def write_shards(folder: Path, count: int, spec) -> None:
    settings = ShardSettings(dtype="float32", streams=("latents",))
    for number in range(count):
        item = PlannedItem(shard=number, id=str(number), path="x", start_s=0, duration_s=1, total_s=1, sample_rate=1)
        entry = EncodedItem(item=item, latents=torch.full((4, 3), float(number)), tokens=None, num_samples=1)
        identity = {"fingerprint": "f", "job": "j", "content": "c"}
        write_shard(
            folder / f"{number:05d}.safetensors", number, [entry], [], spec=spec, settings=settings, identity=identity
        )


def test_shards_beyond_the_limit_of_open_files_are_read(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda file: None)
    write_shards(tmp_path, NUM_SHARDS, codec.spec)
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, str(tmp_path), str(LIMIT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    count, total, viewed = map(float, done.stdout.split())
    assert total == 2 * 12 * sum(range(int(count)))
    assert viewed == 12 * sum(range(20))


def test_a_shard_is_mapped_again_when_it_is_needed(codec, tmp_path):
    write_shards(tmp_path, 1, codec.spec)
    shard = ShardFile(tmp_path / "00000.safetensors")
    before = shard.array("latents")
    shard.unmap()
    assert shard.array("latents") is not before
    np.testing.assert_array_equal(shard.array("latents"), before)


class Mapped:
    is_open = True

    def unmap(self) -> None:
        self.is_open = False


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="maps hold no file open")
def test_the_first_are_closed_and_those_that_are_gone_do_not_count(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 64))
    maps, most = OpenMaps(), most_maps()
    ones = [Mapped() for _ in range(most + 3)]
    for one in ones:
        maps.add(one)
    assert [one.is_open for one in ones] == [False] * 3 + [True] * most
    del ones[5:10], one
    for _ in range(5):
        ones.append(Mapped())
        maps.add(ones[-1])
    assert all(one.is_open for one in ones[3:])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="maps hold no file open")
@pytest.mark.parametrize(("limit", "most"), [(1024, 256), (10, 8), (10**6, 16384), (resource.RLIM_INFINITY, 16384)])
def test_the_bound_follows_the_limit(limit, most, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    assert most_maps() == most
