"""The plan: complete, in order, within its limits, and the same whenever it is made."""

import json
import os
import random
import shutil

import numpy as np
import pyarrow.parquet
import pytest

from latentune.core.errors import DatasetError
from latentune.pipelines.data.audio import find_audio
from latentune.pipelines.data.audio.find import AudioSource
from latentune.pipelines.data.shards import Plan, ShardSettings
from latentune.pipelines.data.shards.load import make_batches
from latentune.pipelines.data.shards.make_plan import _fill_shards, cut_parts, item_bytes, make_plan
from latentune.pipelines.data.shards.plan import PlannedItem, token_bytes
from latentune.pipelines.data.shards.source_state import source_digest

SETTINGS = ShardSettings(max_duration_s=1.0, min_duration_s=0.1, shard_hours=1.5 / 3600)


@pytest.mark.parametrize("rate", [8000, 44100])
def test_parts_cover_the_file_and_are_neither_too_long_nor_too_short(rate):
    rng = random.Random(0)
    for _ in range(300):
        sizes = [rng.randint(1, 20 * rate) for _ in range(rng.randint(1, 4))]
        longest_s = rng.uniform(0.2, 5.0)
        shortest_s = rng.uniform(0.01, longest_s / 2)
        cut = cut_parts(np.array(sizes), np.full(len(sizes), rate), longest_s, shortest_s)
        rows = list(zip(*(column.tolist() for column in cut), strict=True))
        assert [row[0] for row in rows] == sorted(row[0] for row in rows)
        for file, num_samples in enumerate(sizes):
            mine = [row for row in rows if row[0] == file]
            assert [part for _, part, _, _ in mine] == list(range(-(-num_samples // int(longest_s * rate))))
            assert [begin for _, _, begin, _ in mine] == [0, *(end for _, _, _, end in mine[:-1])]
            assert mine[-1][3] == num_samples
            lengths = [end - begin for _, _, begin, end in mine]
            assert all(0 < n <= longest_s * rate for n in lengths)
            assert len(lengths) == 1 or min(lengths) >= shortest_s * rate - 1


def test_plan_is_deterministic_and_survives_its_files(corpus, codec, tmp_path):
    files = AudioSource(corpus / "manifest.jsonl")
    plan = make_plan(files, codec.spec, SETTINGS, num_threads=1)
    assert make_plan(files, codec.spec, SETTINGS, num_threads=4) == plan
    places = tmp_path / "plan.parquet", tmp_path / "sources.parquet"
    plan.write(*places)
    read = Plan.read(*places)
    assert read == plan
    assert read.shard_numbers == plan.shard_numbers
    assert (read.num_items, read.num_shards, read.duration_s) == (plan.num_items, plan.num_shards, plan.duration_s)
    assert list(read.shards()) == list(plan.shards())
    assert read.failures == plan.failures
    assert {f.id for f in plan.failures} == {"garbage.wav", "short.wav", "empty.wav", "missing.wav"}
    assert read.source_digest == plan.source_digest == source_digest(files)
    digests = [read.digest_of(number) for number in read.shard_numbers]
    assert digests == [plan.digest_of(number) for number in plan.shard_numbers]
    assert len(set(digests)) == plan.num_shards
    with pytest.raises(KeyError, match="no shard 99"):
        read.items_of(99)


@pytest.mark.parametrize("rows_at_once", [1, 3, 1000])
def test_a_shard_is_read_alone(corpus, codec, tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr("latentune.pipelines.data.shards.plan.ROW_GROUP", rows_at_once)
    plan = make_plan(AudioSource(corpus), codec.spec, SETTINGS)
    places = tmp_path / "plan.parquet", tmp_path / "sources.parquet"
    plan.write(*places)
    groups = pyarrow.parquet.read_metadata(places[0]).num_row_groups
    assert groups == {1: plan.num_shards, 1000: 1}.get(rows_at_once, groups)
    read = Plan.read(*places)
    for number in reversed(plan.shard_numbers):
        assert read.items_of(number) == plan.items_of(number)


def test_small_datasets_have_shards_of_four_hours_and_large_ones_at_most_256(corpus, codec):
    def shards(num_items: int, **settings) -> list[float]:
        hours = np.full(num_items, 0.5 * 3600)
        found = _fill_shards(hours, hours, codec.spec, ShardSettings(**settings), None)
        return (np.bincount(found) / 2).tolist()

    assert set(shards(80)) == {4.0}
    assert len(shards(20_000, shard_mb=1e9)) == 257  # 39.0625 hours are 78 items and an eighth
    assert max(shards(20_000)) * 100 * 3600 * codec.spec.latent_dim * 2 < 256e6  # and within their size
    assert set(shards(80, shard_hours=10.0)) == {10.0}


def test_shards_are_contiguous_and_filled_up_to_the_limit(corpus, codec):
    plan = make_plan(find_audio(corpus), codec.spec, SETTINGS)
    shards = [items for _, items in plan.shards()]
    assert [n for n, _ in plan.shards()] == list(range(plan.num_shards))
    for items, following in zip(shards, [*shards[1:], None], strict=True):
        seconds = sum(item.duration_s for item in items)
        assert seconds <= 1.5 or len(items) == 1
        assert following is None or seconds + following[0].duration_s > 1.5


def test_shards_keep_to_their_size(corpus, codec):
    settings = ShardSettings(max_duration_s=1.0, min_duration_s=0.1, shard_mb=0.0012)
    plan = make_plan(find_audio(corpus), codec.spec, settings)
    sizes = [sum(item_bytes(i.duration_s, codec.spec, settings) for i in items) for _, items in plan.shards()]
    assert len(sizes) > 2
    assert all(size <= 1200 for size in sizes)


def test_file_listed_twice_makes_two_items(corpus, codec, tmp_path):
    rows = [{"path": str(corpus / "a.wav"), "text": text} for text in ("one", "two")]
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plan = make_plan(find_audio(tmp_path / "m.jsonl"), codec.spec, SETTINGS)
    (items,) = [items for _, items in plan.shards()]
    assert [i.metadata["text"] for i in items] == ["one", "two"]
    assert len({i.id for i in items}) == 2


def test_name_that_is_not_utf8_is_reported(corpus, codec, tmp_path):
    shutil.copy(corpus / "a.wav", tmp_path / "good.wav")
    shutil.copy(corpus / "a.wav", os.path.join(os.fsencode(tmp_path), b"bad\xff.wav"))
    plan = make_plan(find_audio(tmp_path), codec.spec, SETTINGS)
    places = tmp_path / "plan.parquet", tmp_path / "sources.parquet"
    plan.write(*places)
    assert [item.id for item in Plan.read(*places).items_of(0)] == ["good.wav"]
    assert plan.failures[0].path == "bad\\udcff.wav"
    assert "not valid UTF-8" in plan.failures[0].reason


def test_digest_sees_names_sizes_times_and_metadata(tmp_path):
    def digest(name, content, text, at=1e9):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (at, at))
        (tmp_path / "m.jsonl").write_text(json.dumps({"path": name, "text": text}) + "\n")
        return source_digest(find_audio(tmp_path / "m.jsonl"))

    cases = [("a", b"1", "t"), ("a", b"12", "t"), ("b", b"1", "t"), ("a", b"1", "u"), ("a", b"1", "t", 2e9)]
    digests = [digest(*case) for case in cases]
    assert len(set(digests)) == 5
    assert digest("a", b"1", "t") == digests[0]


CHUNK_S = 0.04  # of the fake codec


def test_batches_hold_each_item_once_within_the_budget(codec):
    rng = random.Random(0)
    items = [
        PlannedItem(shard=0, id=str(n), path="x", start_s=0, duration_s=s, total_s=s, sample_rate=8000)
        for n, s in enumerate(rng.uniform(0.05, 2.0) for _ in range(200))
    ]
    batches = make_batches(items, codec.spec, 64 * CHUNK_S)
    assert sorted(int(i.id) for batch in batches for i in batch) == list(range(200))
    for batch in batches:
        chunks = [codec.spec.num_chunks(round(i.duration_s * 8000)) for i in batch]
        assert len(batch) == 1 or len(batch) * max(chunks) <= 64
    used = sum(codec.spec.num_chunks(round(i.duration_s * 8000)) for i in items)
    padded = sum(len(b) * max(codec.spec.num_chunks(round(i.duration_s * 8000)) for i in b) for b in batches)
    assert padded < 1.1 * used
    assert [[i.id for i in b] for b in make_batches(items, codec.spec, CHUNK_S)] == [[i.id] for b in batches for i in b]


def test_tokens_take_the_smallest_type(make_codec):
    sizes = [
        token_bytes(make_codec(levels=levels).spec) for levels in [((16, 16),), ((257,),), ((2**16,),), ((70000,),)]
    ]
    assert sizes == [1, 2, 2, 4]


@pytest.mark.parametrize("name", ["plan.parquet", "sources.parquet"])
@pytest.mark.parametrize("damage", ["missing", "nonsense", "foreign"])
def test_broken_plan_is_named(corpus, codec, tmp_path, name, damage):
    places = tmp_path / "plan.parquet", tmp_path / "sources.parquet"
    make_plan(AudioSource(corpus), codec.spec, SETTINGS).write(*places)
    (tmp_path / name).unlink()
    if damage == "nonsense":
        (tmp_path / name).write_bytes(b"nonsense")
    if damage == "foreign":
        pyarrow.parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / name)
    with pytest.raises(DatasetError, match=r"plan.parquet (cannot be read|is not a plan).*encode again"):
        Plan.read(*places)
