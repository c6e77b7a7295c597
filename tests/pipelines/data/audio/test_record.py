"""Folders of written audio: a second run replaces the first, and touches nothing else."""

import json
from pathlib import Path

import pytest

from latentune.pipelines.data.audio.record import RecordedFolder, check_records


def run(folder: Path, *names: str, record: str = "sample.json", finish: bool = True) -> RecordedFolder:
    """A command that writes these files."""
    target = RecordedFolder(folder, record, names)
    target.begin({"seed": 1})
    for name in names:
        (target.path / name).write_text(name)
    if finish:
        target.finish({"seed": 1})
    return target


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_second_run_replaces_exactly_what_the_first_one_lists(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path / "out", "0.wav", "0.png", "1.wav")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    run(tmp_path / "out", "0.wav", "2.flac")
    assert names(tmp_path / "out") == ["0.wav", "2.flac", "notes.txt", "sample.json"]
    assert "1 audio files of an earlier run were removed" in caplog.text
    assert json.loads((tmp_path / "out" / "sample.json").read_text()) == {"seed": 1, "files": ["0.wav", "2.flac"]}


def test_a_run_that_was_interrupted_is_replaced_as_well(tmp_path: Path) -> None:
    run(tmp_path, "0.wav", "1.wav")
    run(tmp_path, "2.wav", "3.wav", finish=False)
    assert names(tmp_path) == ["0.wav", "1.wav", "2.wav", "3.wav", "sample.json"]
    run(tmp_path, "3.wav")
    assert names(tmp_path) == ["3.wav", "sample.json"]


@pytest.mark.parametrize("stranger", ["theirs.wav", "THEIRS.WAV", "deep/er/theirs.ogg"])
def test_audio_of_others_is_refused_and_left_alone(tmp_path: Path, stranger: str) -> None:
    run(tmp_path, "0.wav")
    (tmp_path / stranger).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / stranger).write_text("theirs")
    before = names(tmp_path)
    with pytest.raises(ValueError, match=rf"sample\.json does not list, {stranger}: choose another output"):
        RecordedFolder(tmp_path, "sample.json", ["0.wav"])
    assert names(tmp_path) == before


def test_audio_of_another_command_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, "0.wav", "1.wav", record="decode.json")
    with pytest.raises(ValueError, match=r"sample\.json does not list, 0\.wav and 1 more"):
        RecordedFolder(tmp_path, "sample.json", ["0.wav"])


def test_a_folder_below_with_a_record_of_its_own_is_no_stranger(tmp_path: Path) -> None:
    run(tmp_path / "below", "0.wav", record="decode.json")
    run(tmp_path, "0.wav")
    run(tmp_path, "1.wav")
    assert names(tmp_path) == ["1.wav", "below/0.wav", "below/decode.json", "sample.json"]


def test_files_that_are_not_audio_are_no_strangers(tmp_path: Path) -> None:
    (tmp_path / "thesis.pdf").write_text("dear")
    (tmp_path / ".hidden.wav").write_text("dear")
    run(tmp_path, "0.wav")
    assert names(tmp_path) == [".hidden.wav", "0.wav", "sample.json", "thesis.pdf"]


@pytest.mark.parametrize("record", ["{", "[]", '{"files": "0.wav"}', '{"files": [3]}', '{"other": 1}'])
def test_a_record_that_cannot_be_read_lists_nothing(tmp_path: Path, record: str) -> None:
    (tmp_path / "sample.json").write_text(record)
    (tmp_path / "0.wav").write_text("whose")
    with pytest.raises(ValueError, match="does not list"):
        RecordedFolder(tmp_path, "sample.json", ["0.wav"])


def test_a_record_cannot_lead_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "dear.wav").write_text("dear")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sample.json").write_text(json.dumps({"files": ["../dear.wav", str(tmp_path / "dear.wav")]}))
    run(tmp_path / "out", "0.wav")
    assert (tmp_path / "dear.wav").read_text() == "dear"


def test_a_folder_that_cannot_be_written_is_known_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="choose another output"):
        RecordedFolder(tmp_path / "file", "sample.json", [])


def test_a_folder_that_its_record_does_not_describe_is_refused(tmp_path: Path) -> None:
    check_records(tmp_path)  # no record, nothing to compare with
    run(tmp_path, "a.wav", "b.wav", "a.json")
    check_records(tmp_path)
    (tmp_path / "more.wav").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"sample.json lists 2 audio files, .* does not list, more\.wav"):
        check_records(tmp_path)
    (tmp_path / "more.wav").unlink()
    (tmp_path / "b.wav").unlink()
    with pytest.raises(ValueError, match=r"sample.json lists 2 audio files, .* does not hold b\.wav: complete the run"):
        check_records(tmp_path)
