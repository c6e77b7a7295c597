"""Finding audio: folders, files and manifests."""

import csv
import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from latentune.pipelines.data.audio import find_audio
from latentune.pipelines.data.audio.find import find_distinct_audio

ROWS = [{"path": "x/one.wav", "text": "a, b", "year": 1999}, {"path": "two.flac", "text": None, "year": 2000}]


def write_manifest(folder, suffix, rows):
    path = folder / f"manifest{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif suffix == ".csv":
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        text = "".join(json.dumps(row) + "\n\n" for row in rows)  # blank lines do no harm
        path.write_bytes(gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode())
    return path


def test_folder_is_searched_in_a_fixed_order(tmp_path):
    for name in [
        "b.wav",
        "a/z.OGG",
        "a/b/c.m4a",
        "notes.txt",
        ".hidden.wav",
        ".Trashes/a.wav",
        "a/.cache/a.wav",
        "x.g722",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    items = find_audio(tmp_path)
    assert [item.name for item in items] == ["a/b/c.m4a", "a/z.OGG", "b.wav", "x.g722"]
    assert all(item.path.is_absolute() and item.path.exists() for item in items)


def test_single_file(tmp_path):
    (tmp_path / "odd.name").write_bytes(b"\0")
    (item,) = find_audio(str(tmp_path / "odd.name"))
    assert (item.name, item.path, item.metadata) == ("odd.name", tmp_path / "odd.name", {})


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".csv", ".parquet"])
def test_manifests_agree(tmp_path, suffix):
    items = find_audio(write_manifest(tmp_path, suffix, ROWS))
    assert [item.name for item in items] == ["x/one.wav", "two.flac"]
    assert [item.path for item in items] == [tmp_path / "x/one.wav", tmp_path / "two.flac"]
    year, nothing = ("1999", "") if suffix == ".csv" else (1999, None)
    assert items[0].metadata == {"text": "a, b", "year": year}
    assert items[1].metadata["text"] == nothing


def test_other_path_column_absolute_paths_and_odd_values(tmp_path):
    manifest = tmp_path / "m.jsonl"
    manifest.write_text('{"file": "/somewhere/a.wav", "gain": NaN, "tags": ["x", {"y": Infinity}]}\n')
    (item,) = find_audio(manifest, path_column="file")
    assert str(item.path) == item.name == "/somewhere/a.wav"
    assert item.metadata == {"gain": None, "tags": ["x", {"y": None}]}
    json.dumps(item.metadata, allow_nan=False)


def test_where_keeps_what_matches(tmp_path):
    rows = [{"path": f"{i}.wav", "split": s, "n": i} for i, s in enumerate(["train", "test", "train", "dev"])]
    manifest = write_manifest(tmp_path, ".jsonl", rows)
    assert [i.name for i in find_audio(manifest, where={"split": "train"})] == ["0.wav", "2.wav"]
    assert [i.name for i in find_audio(manifest, where={"split": ["test", "dev"], "n": 3})] == ["3.wav"]
    with pytest.raises(ValueError, match="no column 'spilt' to filter by: did you mean 'split'"):
        find_audio(manifest, where={"spilt": "train"})
    with pytest.raises(ValueError, match=r"no row .* split = 'val'"):
        find_audio(manifest, where={"split": "val"})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("m.jsonl", '{"path": "a.wav"}\nnot json\n', "line 2 is not JSON"),
        ("m.jsonl", "[1]\n", "line 1 is list"),
        ("m.jsonl", '{"where": "a.wav", "text": "x"}\n', r"no column 'path' \(its columns: where, text\)"),
        ("m.json", "{", "is not JSON"),
        ("m.json", "[3]", "not a JSON array of objects"),
        ("list.txt", "a.wav\n", "text file of an unknown kind"),
        ("m.jsonl", "", "no rows"),
        ("m.jsonl.gz", "not gzipped", "cannot be read"),
        ("m.csv", "path,text\na.wav,b,c\n", "more fields than the header"),
        ("m.parquet", "not parquet", "not a readable parquet"),
        ("folder/readme.txt", "x", "no audio in"),
    ],
)
def test_broken_sources_are_named(tmp_path, name, content, message):
    (tmp_path / "folder").mkdir()
    (tmp_path / name).write_text(content)
    source = tmp_path / ("folder" if "/" in name else name)
    with pytest.raises(ValueError, match=message) as caught:
        find_audio(source)
    assert str(source) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"), [("m.jsonl", b'{"path": "caf\xe9.wav"}'), ("m.csv", b"path\ncaf\xe9.wav")]
)
def test_a_manifest_in_another_encoding_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"is not UTF-8 .*: save it with that encoding"):
        find_audio(tmp_path / name)


def test_a_file_that_is_named_again_is_measured_once_and_counted(tmp_path, caplog):
    rows = [{"path": name, "text": text} for name, text in (("a.wav", "x"), ("b.wav", "y"), ("a.wav", "z"))]
    rows += [{"path": "b/../b.wav", "text": ""}]
    manifest = write_manifest(tmp_path, ".jsonl", rows)
    assert len(find_audio(manifest)) == 4
    found = find_distinct_audio(manifest)
    assert [(item.name, item.metadata["text"]) for item in found] == [("a.wav", "x"), ("b.wav", "y")]
    assert f"{manifest}: 2 of 4 rows name a file again" in caplog.text
    caplog.clear()
    assert len(find_distinct_audio(manifest, where={"text": ["y", "z"]})) == 2
    assert caplog.text == ""


def test_missing_source(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        find_audio(tmp_path / "nothing")
