"""Encoding manifests: segments, ids, texts and rows of all kinds."""

import json

import numpy as np
import pytest
import soundfile

from latentune.pipelines.data.shards import LatentDataset

RATE = 8000


@pytest.fixture
def manifest(tmp_path, encode):
    """Encode a manifest of these rows, of which a.wav and a.wav~2 exist; returns the summary and the dataset."""
    folder = tmp_path / "source"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, seconds in (("a.wav", 1.0), ("a.wav~2", 0.5), ("long.wav", 2.5)):
        soundfile.write(folder / name, rng.uniform(-0.5, 0.5, round(seconds * RATE)), RATE, format="WAV")

    def run(*rows, ascii=False, **options):
        text = "".join(json.dumps(row, ensure_ascii=ascii) + "\n" for row in rows)
        (folder / "m.jsonl").write_text(text, encoding="utf-8")
        summary = encode(source=str(folder / "m.jsonl"), **options)
        return summary, LatentDataset(tmp_path / "dataset")

    return run


def test_segments_are_items(manifest):
    rows = [{"audio_filepath": "a.wav", "offset": at, "duration": 0.3, "text": f"at {at}"} for at in (0.2, 0.6)]
    rows.append({"audio_filepath": "long.wav", "offset": 0.25, "text": "the rest"})
    summary, dataset = manifest(*rows)
    assert (summary.num_items, summary.num_failed) == (5, 0)
    assert [(item.seconds_start, item.duration_s, item.metadata["text"]) for item in dataset] == [
        (0.2, pytest.approx(0.3), "at 0.2"),
        (0.6, pytest.approx(0.3), "at 0.6"),
        (0.25, pytest.approx(1.0), "the rest"),
        (1.25, pytest.approx(1.0), "the rest"),
        (2.25, pytest.approx(0.25), "the rest"),
    ]
    assert [item.seconds_total for item in dataset] == [1.0, 1.0, 2.5, 2.5, 2.5]


def test_segments_beyond_the_end_are_left_out(manifest):
    rows = [{"path": "a.wav", "offset": 0.5, "duration": d} for d in (0.25, 5.0)] + [{"path": "a.wav", "offset": 2}]
    summary, dataset = manifest(*rows)
    assert len(dataset) == 1
    reasons = [failure.reason for failure in summary.failures]
    assert all("goes beyond the end of the file at 1 s" in reason for reason in reasons)
    assert len(reasons) == 2


def test_ids_are_unique_whatever_files_are_called(manifest):
    names = ("a.wav", "a.wav", "a.wav~2", "a.wav", "a.wav~2")
    _, dataset = manifest(*({"path": name, "text": str(number)} for number, name in enumerate(names)))
    assert [item.metadata["text"] for item in dataset] == ["0", "1", "2", "3", "4"]
    assert len({item.id for item in dataset}) == 5
    assert [item.id for item in dataset if item.id == dataset.meta(0)["path"]] == ["a.wav"]
    assert [item.duration_s for item in dataset] == pytest.approx([1.0, 1.0, 0.5, 1.0, 0.5])


def test_separators_of_lines_in_a_text_do_no_harm(manifest, encode, tmp_path):
    texts = ["calm\u2028piano", "calm\x85piano", "a\x0bb\x0cc"]
    first, dataset = manifest(*({"path": "a.wav", "text": text} for text in texts))
    assert [item.metadata["text"] for item in dataset] == texts
    again = encode(source=str(tmp_path / "source" / "m.jsonl"))
    assert (again.already_complete, again.num_items) == (True, first.num_items)


def test_bad_rows_are_left_out_one_by_one(manifest):
    bad = {
        "x" * 300 + ".wav": "too long",
        "a\0.wav": "null",
        "cut\ud83d.wav": "not valid UTF-8",
        "gone.wav": "no such file",
        7: "not a path",
        "~nobody-has-this-name/a.wav": "home",
    }
    summary, dataset = manifest(*({"path": name} for name in bad), {"path": "a.wav", "text": "cut \ud83d"}, ascii=True)
    assert [item.metadata["text"] for item in dataset] == ["cut \ufffd"]
    assert len(summary.failures) == len(bad)
    for failure, reason in zip(summary.failures, bad.values(), strict=True):
        assert reason in failure.reason
