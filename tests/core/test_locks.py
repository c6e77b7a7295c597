"""Locks: one holder at a time, also where holders die, and nothing is left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from latentune.core import locks as module
from latentune.core.errors import InUseError
from latentune.core.locks import LOCKS, Holder, Locks, sole_user

HOLD = """
import sys, time
from pathlib import Path
from latentune.core.locks import Locks
locks = Locks(Path(sys.argv[1]))
print(locks.take("job", "theirs"), flush=True)
time.sleep(60)
"""
COMPETE = """
import os, random, sys, time
from pathlib import Path
from latentune.core.locks import Locks

def compete():
    locks = Locks(folder / "locks")
    if locks.take("job") is not None:
        os._exit(1)
    os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))  # raises if another process is inside
    time.sleep(random.uniform(0, 0.002))
    os.unlink(folder / "inside")
    if random.random() < 0.5:  # otherwise it dies with the lock
        locks.close()
    os._exit(0)

folder, won, failed = Path(sys.argv[1]), 0, 0
Locks(folder / "locks").take("warm")  # imports what it needs
until = time.monotonic() + 2
while time.monotonic() < until:
    child = os.fork()
    if not child:
        try:
            compete()
        finally:
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    won += status == 0
    failed += status == 2
print(won, failed)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=env)


def put(path: Path, holder: Holder, age_s: float = 0.0) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age_s,) * 2)


def test_a_lock_has_one_holder_who_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    with Locks(folder) as first, Locks(folder) as second:
        assert first.take("job", "what") is None
        holder = second.take("job")
        assert holder is not None
        assert (holder.pid, holder.key) == (os.getpid(), "what")
        assert f"process {os.getpid()} on {holder.host} (since 2" in str(holder)
        assert second.take("other") is None
        assert [one.token for one in second.holders("jo")] == [holder.token]
        assert second.holders("other") == [], "its own"
        first.release("job")
        assert second.take("job") is None
        first.release("job")  # not its own: nothing happens
        assert first.take("job") is not None
    assert list(tmp_path.iterdir()) == []


def test_a_killed_holder_is_replaced(tmp_path: Path) -> None:
    process = start(HOLD, tmp_path / "locks")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "None"
    with Locks(tmp_path / "locks") as mine:
        holder = mine.take("job")
        assert holder is not None
        assert (holder.pid, holder.key) == (process.pid, "theirs")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert mine.take("job") is None
        assert mine.take("job") is not None, "by itself"
    assert list(tmp_path.iterdir()) == []


def test_a_holder_on_another_machine_is_dead_after_a_time_without_a_beat(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    there = replace(Holder.here("k"), machine="elsewhere", host="node7")
    with Locks(folder) as mine:
        put(folder / "job.3", there, age_s=module.STALE_S / 2)
        holder = mine.take("job")
        assert holder is not None
        assert "node7" in str(holder)
        put(folder / "job.3", there, age_s=module.STALE_S + 1)
        assert mine.take("job") is None
        assert (folder / "job.4").exists()
        assert mine.holders("") == []
    assert not folder.exists()


@pytest.mark.parametrize("text", [b"", b"{}", b"\xff not JSON"])
def test_a_file_that_is_being_written_counts_by_its_age(tmp_path: Path, text: bytes) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    path = folder / "job.1"
    path.write_bytes(text)
    with Locks(folder) as mine:
        holder = mine.take("job")
        assert holder is not None
        assert "unknown machine" in str(holder)
        os.utime(path, (0, 0))
        assert mine.take("job") is None


def test_a_number_that_another_process_has_now_is_no_holder(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    put(folder / "job.1", replace(Holder.here(), started_s=1.0), age_s=module.STALE_S + 1)
    with Locks(folder) as mine:
        assert mine.take("job") is None


def test_a_lock_is_refreshed_while_it_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    with Locks(tmp_path / "locks") as mine:
        assert mine.take("job") is None
        path = tmp_path / "locks" / "job.1"
        os.utime(path, (0, 0))
        deadline = time.monotonic() + 10
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
        assert path.stat().st_mtime > 0


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Locks(tmp_path / "file" / "locks").take("job")


def test_the_file_of_a_living_process_that_tries_outlives_a_release(tmp_path: Path) -> None:
    dead, tries = tmp_path / "locks" / "job.1", replace(Holder.here(), token="of another")
    put(dead, replace(Holder.here(), started_s=1.0), age_s=module.STALE_S + 1)
    with Locks(tmp_path / "locks") as mine:
        assert mine.take("job") is None
        put(dead, tries)  # the number was free for a moment
        mine.release("job")
        assert [path.name for path in (tmp_path / "locks").iterdir()] == ["job.1"]


def test_processes_that_compete_are_never_inside_together(tmp_path: Path) -> None:
    processes = [start(COMPETE, tmp_path) for _ in range(4)]
    counts = [list(map(int, process.communicate(timeout=60)[0].split())) for process in processes]
    assert [failed for _, failed in counts] == [0] * 4
    assert sum(won for won, _ in counts) > 10
    with Locks(tmp_path / "locks"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_output_has_one_user(tmp_path: Path) -> None:
    with sole_user(tmp_path, "train"):
        with (
            pytest.raises(InUseError, match=rf"is in use: process {os.getpid()} on .* has it for train; stop it"),
            sole_user(tmp_path, "train"),
        ):
            pass
        assert (tmp_path / LOCKS).is_dir()
    assert list(tmp_path.iterdir()) == []
