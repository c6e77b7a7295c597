"""Results that cannot be written: the report, and their fate."""

import errno
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from latentune.core.errors import LatentuneError, OutputError
from latentune.core.files import atomic_path, output_error, write_text
from latentune.core.outputs import prepare_output, prepare_output_file, remove_unused, rescued


@pytest.mark.parametrize(
    ("error", "number", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            errno.ENOSPC,
            "cannot write a.bin (No space left on device): free space there or choose another output",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied"),
            errno.EACCES,
            "cannot write a.bin (Permission denied): change its permissions or choose another output",
        ),
        (
            OSError(errno.EROFS, "Read-only file system"),
            errno.EROFS,
            "cannot write a.bin (Read-only file system): choose another output",
        ),
        (
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            errno.ENOSPC,
            "cannot write a.bin (No space left on device): free space there or choose another output",
        ),
        (
            OSError("Error writing bytes to file. Detail: [errno 28] No space left on device"),
            errno.ENOSPC,
            "cannot write a.bin (No space left on device): free space there or choose another output",
        ),
        (OSError("of its own kind"), 0, "cannot write a.bin (of its own kind): choose another output"),
    ],
)
def test_an_output_error_names_path_reason_and_way_on(error: Exception, number: int, message: str) -> None:
    found = output_error("a.bin", error)
    assert (found.errno, str(found)) == (number, message)
    assert isinstance(found, OSError)
    assert isinstance(found, LatentuneError)


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write to the folder .*/file"):
        prepare_output(tmp_path / "file")
    with pytest.raises(OutputError, match=r"cannot write .*/nowhere/a.txt"):
        write_text(tmp_path / "nowhere" / "a.txt", "a")


def test_a_file_that_cannot_be_written_is_named_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert prepare_output_file(tmp_path / "new" / "a.json").parent.is_dir()
    assert prepare_output_file(tmp_path / "file").is_file()
    with pytest.raises(OutputError, match=r"cannot write .*/new \(Is a directory\): name a file in it"):
        prepare_output_file(tmp_path / "new")
    with pytest.raises(OutputError, match=r"cannot write to the folder .*/file"):
        prepare_output_file(tmp_path / "file" / "a.json")


def test_folders_that_stay_empty_are_removed(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    for name in ("before", "used/a", "unused/a/b"):
        prepare_output(tmp_path / name)
    (tmp_path / "used" / "file").touch()
    remove_unused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "used"]
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]
    remove_unused()
    assert (tmp_path / "before").is_dir(), "it was there before"


def test_errors_of_libraries_that_write_are_output_errors(tmp_path: Path) -> None:
    def save() -> None:
        with atomic_path(tmp_path / "a.safetensors") as part:
            save_file({"a": torch.ones(1)}, part.parent / "nowhere" / "a.safetensors")

    with pytest.raises(OutputError, match=r"cannot write .*/a.safetensors \(No such file or directory\)"):
        save()


def test_mistakes_are_not_output_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), atomic_path(tmp_path / "a"):
        raise ValueError("mine")


def test_results_that_cannot_be_written_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def save() -> None:
        with rescued("figures.json", lambda: "figures"):
            write_text("/proc/figures.json", "figures")

    with pytest.raises(OutputError, match=r"cannot write /proc/figures.json .*; the results are in .*/figures.json$"):
        save()
    (kept,) = tmp_path.rglob("figures.json")
    assert kept.read_text() == "figures"


def test_results_that_cannot_be_kept_are_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(OutputError, match=r"cannot write /proc/figures.json"), rescued("f.json", lambda: "7 figures"):
        write_text("/proc/figures.json", "figures")
    assert "7 figures" in caplog.text
