"""The index of a dataset: the values that the items have, whatever their types, one column at a time."""

import json
import pickle
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from latentune.core.errors import DatasetError
from latentune.pipelines.data.audio.find import matches
from latentune.pipelines.data.shards import LatentDataset
from latentune.pipelines.data.shards.column import Column
from latentune.pipelines.data.shards.columns import ItemColumns
from latentune.pipelines.data.shards.index_table import ShardColumns, make_index, write_index

ROWS: list[dict[str, Any]] = [
    {"n": 1, "mixed": 1, "list": ["x"], "odd": {"k": 1}, "big": 2**70, "lists": [1], "empty": None, "flag": True},
    {"n": 2.5, "mixed": "two", "list": None, "odd": None, "big": 1, "lists": ["x", 2], "empty": None, "flag": None},
    {"n": None, "mixed": [True], "list": [], "odd": {"k": 1}, "big": None, "lists": None, "late": "here", "id": "mine"},
    {"n": 2**53 + 1, "mixed": True, "list": ["x", "y"], "odd": {"other": None}, "metadata_id": "theirs"},
]
NAMES = sorted({name for row in ROWS for name in row})


def index_of(rows: list[dict[str, Any]], cuts: tuple[int, ...]) -> pyarrow.Table:
    """The index of items with these metadata, in shards that end at `cuts`."""
    parts, start = [], 0
    for end in (*cuts, len(rows)):
        some = rows[start:end]
        facts = {"id": Column.of([f"item {start + n}" for n in range(len(some))])}
        names = dict.fromkeys(name for row in some for name in row)
        parts.append(ShardColumns(len(some), facts, {n: Column.of([row.get(n) for row in some]) for n in names}))
        start = end
    return make_index(parts)


@pytest.mark.parametrize("cuts", [(), (2,), (1, 1, 3), (1, 2, 3)])
def test_values_are_those_of_the_items(cuts, tmp_path):
    table = index_of(ROWS, cuts)
    write_index(tmp_path / "index.parquet", table)
    for columns in (ItemColumns(table), ItemColumns(tmp_path / "index.parquet")):
        columns = pickle.loads(pickle.dumps(columns))
        assert sorted(columns.metadata) == NAMES
        for name in NAMES:
            assert columns.values(name) == [row.get(name) for row in ROWS], name
            assert columns.values(name, np.array([3, 0])) == [ROWS[3].get(name), ROWS[0].get(name)]
            found, wanted = columns.distinct(name, np.array([0, 1, 1])), [row.get(name) for row in ROWS[:2]]
            assert all(value in wanted for value in found)
            assert all(value in found for value in wanted)
            assert len(found) == 1 + (wanted[0] != wanted[1])
        assert columns.facts("id") == ["item 0", "item 1", "item 2", "item 3"]
        assert columns.facts("no such fact", np.array([1])) == columns.values("no such column")[:1] == [None]
        assert len(columns) == 4


def test_types_are_those_of_other_readers(tmp_path):
    rows = [{"whole": 1, "real": 1, "text": "a", "texts": ["a"], "mixed": 1}, {"real": 0.5, "mixed": "a", "texts": []}]
    write_index(tmp_path / "index.parquet", index_of(rows, (1,)))
    got = pyarrow.parquet.read_table(tmp_path / "index.parquet").to_pydict()
    assert (got["whole"], got["real"], got["text"]) == ([1, None], [1.0, 0.5], ["a", None])
    assert (got["texts"], got["mixed"]) == ([["a"], []], ["1", '"a"'])


@pytest.mark.parametrize("name", NAMES)
def test_where_chooses_as_the_metadata_do(name):
    columns = ItemColumns(index_of(ROWS, (2,)))
    values = [row.get(name) for row in ROWS]
    for wanted in [*values, [values[0], values[1]], "no such value", None, [None], []]:
        expected = [n for n, row in enumerate(ROWS) if matches(row, {name: wanted})]
        assert columns.where({name: wanted}).tolist() == expected
    assert columns.where({"flag": True, "n": 1}).tolist() == [0]
    assert columns.where({"flag": True, "n": 2.5}).tolist() == []
    assert columns.where({"unknown": 1}).tolist() == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "missing or corrupt"),
        (lambda path: path.write_bytes(b"nonsense"), "does not have the recorded hash"),
        (lambda path: write_index(path, index_of(ROWS, ())), "does not have the recorded hash"),
    ],
)
def test_an_index_that_is_not_the_recorded_one_is_refused(encode, corpus, tmp_path, damage, message):
    encode(source=str(corpus / "manifest.jsonl"))
    damage(tmp_path / "dataset" / "index.parquet")
    dataset = LatentDataset(tmp_path / "dataset")
    assert dataset[0].metadata["text"].startswith("text of")  # items do not need it
    with pytest.raises(DatasetError, match=f"{message}.*run encode again to rebuild it"):
        _ = dataset.columns
    with pytest.raises(DatasetError, match=message):
        LatentDataset(tmp_path / "dataset", where={"label": "a"})
    (tmp_path / "dataset" / "index.parquet").unlink(missing_ok=True)
    encode(source=str(corpus / "manifest.jsonl"))
    assert LatentDataset(tmp_path / "dataset").columns.values("text") == [item.metadata["text"] for item in dataset]


def test_older_and_unfinished_datasets_have_columns_too(encode, corpus, tmp_path):
    encode(source=str(corpus / "manifest.jsonl"))
    folder = tmp_path / "dataset"
    info = json.loads((folder / "dataset.json").read_text())
    new = LatentDataset(folder, where={"label": "b"})
    for change in ({"version": 2}, {"complete": False}):
        (folder / "dataset.json").write_text(json.dumps({**info, **change}))
        old = LatentDataset(folder, where={"label": "b"})
        assert [item.id for item in old] == [item.id for item in new]
        assert old.columns.values("tags") == new.columns.values("tags")
