"""A source that gains, loses or changes files: `encode` follows with the difference alone."""

import json
import os
import shutil
from functools import wraps
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile
import torch

from latentune.core.errors import DatasetError, MismatchError
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.data.shards.statistics import latent_statistics

RATE = 8000
LENGTHS_S = {"a.wav": 0.5, "b.wav": 2.35, "c.wav": 0.9, "d.wav": 0.7, "e.wav": 1.2}


def write(folder: Path, name: str, seconds: float, seed: int) -> None:
    soundfile.write(folder / name, np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)), RATE)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for seed, (name, seconds) in enumerate(LENGTHS_S.items()):
        write(folder, name, seconds, seed)
    return folder


@pytest.fixture
def grow(encode, source, codec):
    """Encode the source as it is; returns the summary, and how many items went through the codec."""

    def run(**options):
        calls = len(codec.calls)
        summary = encode(source=str(source), **options)
        batches = [batch for batch, _, _ in codec.calls[calls:]]
        return summary, sum(batches) - (calls == 0)  # the first call of all is the silence

    return run


def assert_equals_fresh(tmp_path: Path, encode, source: Path) -> None:
    """The dataset has the items of one that is encoded from the start, and its index and statistics fit."""
    encode("fresh", source=str(source))
    grown, fresh = LatentDataset(tmp_path / "dataset"), LatentDataset(tmp_path / "fresh")
    want = {item.id: item for item in fresh}
    assert grown.complete
    assert {item.id for item in grown} == set(want)
    for item in grown:
        torch.testing.assert_close(item.latents, want[item.id].latents, rtol=1e-3, atol=2e-3)
        assert torch.equal(item.tokens, want[item.id].tokens)
        assert item.metadata == want[item.id].metadata
    assert (grown.latent_mean, grown.latent_std) == latent_statistics(grown.shards)
    index = pyarrow.parquet.read_table(tmp_path / "dataset" / "index.parquet").to_pydict()
    assert index["id"] == [item.id for item in grown]
    names = {f"{number:05d}.safetensors" for number in index["shard"]}
    assert {path.name for path in (tmp_path / "dataset" / "shards").iterdir()} == names
    assert len(list((tmp_path / "dataset").glob("plan*"))) == 1
    failed = [(tmp_path / name / "failed.jsonl").read_text() for name in ("dataset", "fresh")]
    assert failed[0] == failed[1]


def test_a_new_file_costs_its_own_encoding(grow, encode, source, tmp_path, read_tree):
    grow()
    before = read_tree(tmp_path / "dataset" / "shards")
    write(source, "aa.wav", 0.8, 77)
    summary, encoded = grow()
    assert (encoded, summary.num_items, summary.complete) == (1, 9, True)
    after = read_tree(tmp_path / "dataset" / "shards")
    assert {name: data for name, data in after.items() if name in before} == before
    assert_equals_fresh(tmp_path, encode, source)
    assert grow()[0].already_complete


def test_what_is_gone_is_removed_without_encoding(grow, encode, source, tmp_path, read_tree):
    grow()
    before = read_tree(tmp_path / "dataset" / "shards")
    (source / "a.wav").unlink()
    summary, encoded = grow()
    assert (encoded, summary.num_items) == (0, 7)
    after = read_tree(tmp_path / "dataset" / "shards")
    assert [name for name in before if after[name] != before[name]] == ["00000.safetensors"]
    assert_equals_fresh(tmp_path, encode, source)


def test_shards_whose_items_are_all_gone_vanish_and_numbers_are_not_used_again(grow, encode, source, tmp_path):
    grow()
    (source / "e.wav").unlink()
    (source / "d.wav").unlink()
    grow()
    assert_equals_fresh(tmp_path, encode, source)
    highest = max(path.name for path in (tmp_path / "dataset" / "shards").iterdir())
    write(source, "z.wav", 0.5, 5)
    shutil.rmtree(tmp_path / "fresh")
    grow()
    assert max(path.name for path in (tmp_path / "dataset" / "shards").iterdir()) > f"{int(highest[:5]) + 1:05d}"
    assert_equals_fresh(tmp_path, encode, source)


def test_other_content_of_the_same_size_is_noticed(grow, encode, source, tmp_path):
    grow()
    size = (source / "b.wav").stat().st_size
    write(source, "b.wav", LENGTHS_S["b.wav"], 99)
    assert (source / "b.wav").stat().st_size == size
    assert grow()[1] == 3
    assert_equals_fresh(tmp_path, encode, source)


def test_the_same_content_at_another_time_is_kept(grow, source, tmp_path, read_tree):
    grow()
    before = read_tree(tmp_path / "dataset" / "shards")
    for path in source.iterdir():
        os.utime(path, (1e9, 1e9))
    summary, encoded = grow()
    assert (encoded, summary.complete, read_tree(tmp_path / "dataset" / "shards")) == (0, True, before)


def test_files_that_are_renamed_or_repaired_are_new(grow, encode, source, tmp_path):
    (source / "broken.wav").write_bytes(b"no audio" * 100)
    assert grow()[0].num_failed == 1
    write(source, "broken.wav", 0.6, 6)
    (source / "a.wav").rename(source / "z.wav")
    summary, encoded = grow()
    assert (encoded, summary.num_failed) == (2, 0)
    assert_equals_fresh(tmp_path, encode, source)


def test_other_metadata_and_order_need_no_encoding(encode, codec, source, tmp_path):
    def manifest(*rows):
        lines = (json.dumps({"path": name, "text": text}) for name, text in rows)
        (source / "m.jsonl").write_text("\n".join(lines))
        return encode(source=str(source / "m.jsonl"))

    manifest(("a.wav", "one"), ("a.wav", "two"), ("b.wav", "three"))
    calls = len(codec.calls)
    manifest(("b.wav", "3"), ("a.wav", "two"))
    assert len(codec.calls) == calls
    items = {item.id: item for item in LatentDataset(tmp_path / "dataset")}
    assert {name: item.metadata["text"] for name, item in items.items()} == {
        "a.wav": "two",
        **{f"b.wav#{number}": "3" for number in range(3)},
    }


def test_a_run_that_was_killed_while_it_grew_ends_with_the_same_bytes(
    grow, encode, source, codec, tmp_path, read_tree, monkeypatch
):
    grow()
    shutil.copytree(tmp_path / "dataset", tmp_path / "copy")
    (source / "a.wav").unlink()
    for seed in range(4):
        write(source, f"new{seed}.wav", 0.9, seed)
    grow()
    wanted = read_tree(tmp_path / "dataset")
    for allowed in range(4):
        shutil.rmtree(tmp_path / "dataset")
        shutil.copytree(tmp_path / "copy", tmp_path / "dataset")
        whole, calls = type(codec).encode, [0]

        @wraps(whole)
        def dies(self, *arguments, whole=whole, calls=calls, allowed=allowed, **options):
            calls[0] += 1
            if calls[0] > allowed:
                raise KeyboardInterrupt
            return whole(self, *arguments, **options)

        monkeypatch.setattr(type(codec), "encode", dies)
        with pytest.raises(KeyboardInterrupt):
            grow()
        monkeypatch.undo()
        assert not LatentDataset(tmp_path / "dataset").complete
        grow()
        assert read_tree(tmp_path / "dataset") == wanted


def test_a_source_with_other_files_is_refused(grow, encode, corpus, tmp_path, read_tree):
    grow()
    before = read_tree(tmp_path / "dataset")
    with pytest.raises(MismatchError, match="has none of its files: encode to another folder"):
        encode(source=str(corpus / "sub"))
    assert {k: v for k, v in read_tree(tmp_path / "dataset").items() if k in before} == before


def test_a_shard_of_an_earlier_generation_is_not_read_as_one_of_this(grow, source, tmp_path):
    grow()
    old = (tmp_path / "dataset" / "shards" / "00000.safetensors").read_bytes()
    (source / "a.wav").unlink()
    grow()
    (tmp_path / "dataset" / "shards" / "00000.safetensors").write_bytes(old)
    with pytest.raises(DatasetError, match=r"00000.safetensors is not of this dataset \(content differs\)"):
        LatentDataset(tmp_path / "dataset")


def test_stored_embeddings_of_a_sound_that_changed_are_removed(grow, source, tmp_path):
    grow()
    stores = [tmp_path / "dataset" / "embeddings" / name for name in ("audio-0123456789", "text-0123456789")]
    for store in stores:
        store.mkdir(parents=True)
    write(source, "new.wav", 0.5, 8)
    grow()
    assert [store.exists() for store in stores] == [True, True]
    write(source, "a.wav", 0.5, 9)
    grow()
    assert [store.exists() for store in stores] == [False, True]
