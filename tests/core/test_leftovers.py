"""Temporary names: whose they are, and when nobody needs them any more."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from latentune.core import leftovers
from latentune.core.files import atomic_path
from latentune.core.leftovers import ABANDONED_S, is_abandoned, is_temporary, temporary_path


def put(path: Path, age_s: float = 0.0) -> Path:
    path.write_text("")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def of(pid: int, path: Path) -> Path:
    """The name that another process of this machine would give."""
    return path.with_name(temporary_path(path).name.replace(f"-{os.getpid()}.", f"-{pid}."))


def test_a_file_that_is_being_written_is_not_abandoned(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "00000.safetensors") as part:
        put(part)
        assert part.suffix == ".safetensors"
        assert is_temporary(part)
        assert not is_abandoned(part)
    assert not is_temporary(tmp_path / "00000.safetensors")


def test_every_file_beside_one_that_is_written_has_a_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process can be killed at any moment, and what it leaves must be known as such."""
    seen: set[Path] = set()
    touch = Path.touch

    def note(path: Path, *arguments: int, **options: bool) -> None:
        touch(path, *arguments, **options)
        seen.update(tmp_path.iterdir())

    monkeypatch.setattr(Path, "touch", note)
    with atomic_path(tmp_path / "00000.safetensors") as part:
        part.write_text("")
    assert len(seen) == 2
    assert all(map(is_temporary, seen))


def test_a_file_of_a_process_that_ended_is_abandoned(tmp_path: Path) -> None:
    process = subprocess.Popen(["sleep", "60"])
    path = put(of(process.pid, tmp_path / "x"))
    assert not is_abandoned(path)
    process.kill()
    process.wait()
    assert is_abandoned(path)
    assert is_abandoned(put(temporary_path(tmp_path / "y"), age_s=1e8)), "the number was of another process"
    assert not is_abandoned(tmp_path / "gone")
    assert not is_abandoned(put(tmp_path / "thesis.txt", age_s=1e8))


@pytest.mark.parametrize("name", [".x.0123abcd-1.part", ".x.1.part.json"])
def test_a_file_of_another_machine_is_abandoned_after_a_time(tmp_path: Path, name: str) -> None:
    assert is_temporary(tmp_path / name)
    assert not is_abandoned(put(tmp_path / name, age_s=ABANDONED_S / 2))
    assert is_abandoned(put(tmp_path / name, age_s=ABANDONED_S * 2))
    assert leftovers.NAME.match(".x.part") is None
