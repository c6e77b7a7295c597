"""Manifests of all kinds: segments, encodings, and rows that are wrong."""

import gzip
import json

import numpy as np
import pytest
import soundfile

from latentune.core.errors import AudioError
from latentune.pipelines.data.audio import find_audio


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("m.jsonl", b'\xef\xbb\xbf{"path": "a.wav", "text": "x"}\n'),
        ("m.ndjson", b'{"path": "a.wav", "text": "x"}\r\n'),
        ("m.json", b'[{"path": "a.wav", "text": "x"}]'),
        ("m.csv", b"\xef\xbb\xbfpath,text\na.wav,x\n"),
        ("m.tsv", b"path\ttext\na.wav\tx\n"),
        ("data.jsonl.gz", gzip.compress(b'{"path": "a.wav", "text": "x"}\n', mtime=0)),
        ("nemo.jsonl", b'{"audio_filepath": "a.wav", "text": "x"}\n'),
    ],
)
def test_kinds(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    (item,) = find_audio(tmp_path / name)
    assert (item.name, item.path, item.metadata) == ("a.wav", tmp_path / "a.wav", {"text": "x"})


def test_a_quote_in_tsv_is_text(tmp_path):
    (tmp_path / "m.tsv").write_text('path\tsentence\na.wav\t"hello\nb.wav\tbye\n')
    assert [item.metadata["sentence"] for item in find_audio(tmp_path / "m.tsv")] == ['"hello', "bye"]


def test_kaldi_data_folder(tmp_path):
    (tmp_path / "wav.scp").write_text("rec1 a.wav\nrec2 sox b.wav -t wav - |\n")
    (tmp_path / "text").write_text("utt1 hello there\nutt2 bye\n")
    first, second = find_audio(tmp_path / "wav.scp")
    assert (first.name, first.metadata["utterance"], first.duration_s) == ("a.wav", "rec1", None)
    assert "not a path" in second.problem
    (tmp_path / "segments").write_text("utt1 rec1 0.5 1.25\nutt2 rec1 2 3\n")
    items = find_audio(tmp_path / "wav.scp")
    assert [(item.start_s, item.duration_s, item.metadata["text"]) for item in items] == [
        (0.5, 0.75, "hello there"),
        (2.0, 1.0, "bye"),
    ]


@pytest.mark.parametrize(
    ("columns", "part"),
    [
        ({}, (0.0, None)),
        ({"duration": 0.3}, (0.0, None)),  # describes the file
        ({"offset": 0.2}, (0.2, None)),
        ({"offset": 0.2, "duration": 0.3}, (0.2, 0.3)),
        ({"offset": "0.2", "duration": "0.3"}, (0.2, 0.3)),
        ({"offset": None, "duration": 0.3}, (0.0, None)),
        ({"start": 0.2, "end": 0.7}, (0.2, 0.5)),
        ({"end": 0.7}, (0.0, 0.7)),
    ],
)
def test_segments(tmp_path, columns, part):
    soundfile.write(tmp_path / "a.wav", np.arange(1000) / 1000, 1000, subtype="FLOAT")
    (tmp_path / "m.jsonl").write_text(json.dumps({"path": "a.wav", **columns}) + "\n")
    (item,) = find_audio(tmp_path / "m.jsonl")
    assert (item.start_s, item.duration_s) == pytest.approx(part)
    assert item.metadata == columns
    audio, _ = item.read()
    length_s = 1.0 - part[0] if part[1] is None else part[1]
    np.testing.assert_allclose(audio[0] * 1000, np.arange(round(length_s * 1000)) + round(part[0] * 1000), atol=1e-3)
    assert item.read(max_duration_s=0.1)[0].shape[1] == 100


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"path": 3}, "path is 3, not a path"),
        ({"path": ""}, "path is '', not a path"),
        ({"path": "~nobody-has-this-name/a.wav"}, "home"),
        ({"path": "a.wav", "offset": "soon"}, "offset is 'soon', not a number of seconds"),
        ({"path": "a.wav", "offset": -1.0}, "is not a part of a file"),
        ({"path": "a.wav", "start": 0.5, "end": 0.5}, "is not a part of a file"),
        ({"path": "a.wav", "start": 0.5, "end": 3.0}, "goes beyond the end of the file at 1 s"),
        ({"path": "a.wav", "offset": 5.0}, "beyond the end of the file|no audio samples at 5 s"),
    ],
)
def test_a_wrong_row_is_a_problem_of_its_own(tmp_path, row, reason):
    soundfile.write(tmp_path / "a.wav", np.full(1000, 0.1), 1000)
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"path": "a.wav"}) + "\n")
    wrong, right = find_audio(tmp_path / "m.jsonl")
    with pytest.raises(AudioError, match=reason):
        wrong.read()
    with pytest.raises(AudioError, match=reason):
        wrong.part(wrong.probe().duration_s)
    assert right.read()[0].shape[1] == 1000


def test_json_lines_end_at_line_feeds_alone(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav", "text": "calm\u2028piano\x85"}\n', encoding="utf-8")
    assert [item.metadata["text"] for item in find_audio(tmp_path / "m.jsonl")] == ["calm\u2028piano\x85"]


def test_half_a_character_is_replaced_and_counted(tmp_path, caplog):
    (tmp_path / "m.jsonl").write_text('{"path": "a.wav", "text": "cut \\ud83d", "more": ["\\ud83d\\ude00"]}\n')
    (item,) = find_audio(tmp_path / "m.jsonl")
    assert item.metadata == {"text": "cut \ufffd", "more": ["\U0001f600"]}
    assert "1 texts with half a surrogate pair" in caplog.text
