"""Folders that are whole, or as they were before."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from latentune.core import folders
from latentune.core.errors import OutputError
from latentune.core.folders import atomic_folder, refuse_strangers

NAMES = ("a.bin", "b.bin", "deep/c.bin")


def fill(folder: Path, text: str) -> None:
    for name in NAMES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def replace_for_ever(folder: Path) -> None:
    number = 0
    while True:
        number += 1
        with atomic_folder(folder) as part:
            fill(part, str(number))


@pytest.mark.parametrize("before", ["nothing", "empty", "full"])
@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_takes_the_place_of_another(
    before: str, exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:  # as on other systems
        monkeypatch.setattr(folders, "_exchange", lambda one, other: False)
    folder = tmp_path / "deep" / "folder"
    if before != "nothing":
        folder.mkdir(parents=True)
    if before == "full":
        fill(folder, "old")
        (folder / "README.md").write_text("card")
        (folder / "gone.bin").write_text("old")
    with atomic_folder(folder, kept=["README.md"]) as part:
        fill(part, "new")
    kept = {"README.md": "card"} if before == "full" else {}
    assert contents(folder) == {**dict.fromkeys(NAMES, "new"), **kept}
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    fill(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_folder(tmp_path / "link") as part:
        fill(part, "new")
    assert (tmp_path / "link").is_symlink()
    assert contents(tmp_path / "real") == dict.fromkeys(NAMES, "new")


def test_a_mount_point_is_filled_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "ismount", lambda path: Path(path) == tmp_path)
    fill(tmp_path, "old")
    (tmp_path / "gone.bin").write_text("old")
    inode = tmp_path.stat().st_ino
    with atomic_folder(tmp_path) as part:
        fill(part, "new")
    assert contents(tmp_path) == dict.fromkeys(NAMES, "new")
    assert tmp_path.stat().st_ino == inode


@pytest.mark.parametrize("step", ["body", "replace"])
def test_what_fails_leaves_the_folder_as_it_was(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(folder, "old")
    monkeypatch.setattr(folders, "_exchange", lambda one, other: False)

    def save() -> None:
        with atomic_folder(folder) as part:
            fill(part, "new")
            if step == "body":
                raise OSError(28, "No space left on device")
            replace = os.replace

            def broken(one: Path, other: Path) -> None:
                if one == part:
                    raise OSError(13, "Permission denied")
                replace(one, other)

            monkeypatch.setattr(os, "replace", broken)

    reason = "No space left on device" if step == "body" else "Permission denied"
    with pytest.raises(OutputError, match=rf"^cannot write {folder} \({reason}\): .*choose another output$"):
        save()
    assert contents(folder) == dict.fromkeys(NAMES, "old")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.parametrize("wait_s", [0.02, 0.031, 0.044, 0.057, 0.063, 0.078, 0.09, 0.11])
def test_a_kill_at_any_moment_leaves_the_old_or_the_new(wait_s: float, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    fill(folder, "0")
    process = multiprocessing.get_context("fork").Process(target=replace_for_ever, args=(folder,))
    process.start()
    time.sleep(wait_s)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    found = contents(folder)
    assert found.keys() == set(NAMES)
    assert len(set(found.values())) == 1


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["thesis.txt"], "holds other files, such as thesis.txt: choose a new folder for the model"),
        (["config.json", "thesis.txt"], "holds other files, such as thesis.txt"),
        (["weights-1.bin"], "holds other files, such as weights-1.bin"),
        (["config.json", "weights-1.bin"], None),
        ([], None),
    ],
)
def test_files_of_others_are_not_replaced(names: list[str], message: str | None, tmp_path: Path) -> None:
    for name in names:
        (tmp_path / name).touch()
    own = ("config.json", "weights*")
    if message is None:
        refuse_strangers(tmp_path, own, "the model", mark="config.json")
        return
    with pytest.raises(ValueError, match=message):
        refuse_strangers(tmp_path, own, "the model", mark="config.json")


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="it is a file; give a folder"):
        refuse_strangers(tmp_path / "file", (), "the model", mark="config.json")
    refuse_strangers(tmp_path / "nothing", (), "the model", mark="config.json")
