"""Several processes that encode into one folder: the bytes of one, whoever dies, joins or comes with other settings."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from latentune.core.errors import InUseError
from latentune.core.locks import LOCKS, Locks
from latentune.pipelines.data.shards import LatentDataset, sharing


@pytest.fixture
def ranks(corpus):
    """Ask it to `start` a process or `wait` for one."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("rank_target.py")), str(corpus)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )

    def ask(*words: object) -> int:
        process.stdin.write(" ".join(map(str, words)) + "\n")
        process.stdin.flush()
        return int(process.stdout.readline())

    assert process.stdout.readline() == "ready\n"
    yield ask
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def until(condition, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def shards_of(folder: Path, pattern: str) -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


def close_when_logged(caplog, text: str, locks: Locks) -> None:
    """Gives locks up as soon as the job has said that it waits for them."""

    def watch():
        until(lambda: text in caplog.text)
        locks.close()

    threading.Thread(target=watch).start()


def test_four_ranks_of_which_one_is_killed_and_one_comes_late(ranks, tmp_path, read_tree):
    assert ranks("wait", ranks("start", tmp_path / "whole", 0)) == 0
    folder = tmp_path / "shared"
    pids = [ranks("start", folder, 0)]
    until((folder / LOCKS).exists)  # the first is at work before the others, which might leave it nothing to do
    pids += [ranks("start", folder, rank) for rank in (1, 2)]

    def shard_of_the_first() -> list[Path]:
        found = [path for path in (folder / LOCKS).glob("shard-*") if f'"pid": {pids[0]},' in path.read_text()]
        return [path for path in found if not (folder / "shards" / f"{int(path.stem[6:]):05d}.safetensors").exists()]

    until(shard_of_the_first)
    os.kill(pids[0], signal.SIGKILL)
    assert shard_of_the_first()  # it stays, with the name of a dead process
    assert ranks("wait", pids[0]) == signal.SIGKILL
    until(lambda: len(shards_of(folder, "shards/[0-9]*")) >= 2)
    pids.append(ranks("start", folder, 3))
    assert [ranks("wait", pid) for pid in pids[1:]] == [0, 0, 0]
    assert read_tree(folder) == read_tree(tmp_path / "whole")
    encoded = [int((tmp_path / f"shared.{rank}").read_text().split()[0]) for rank in (1, 2, 3)]
    num_shards = int((tmp_path / "shared.1").read_text().split()[1])
    assert num_shards - 2 <= sum(encoded) <= num_shards, "the killed one committed none, or those before"
    assert min(encoded[:2]) > 0


def test_one_rank_of_several_does_all_the_work(encode, tmp_path, read_tree, monkeypatch, caplog):
    encode("alone")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with caplog.at_level(logging.INFO, "latentune.job"):
        summary = encode()
    assert summary.complete
    assert "process 2 of 2" in caplog.text
    assert read_tree(tmp_path / "dataset") == read_tree(tmp_path / "alone")


def test_other_settings_are_refused_while_a_run_goes_on(encode, make_codec, corpus, tmp_path):
    refused = []

    def interfere(state):
        if state.phase != "encode" or refused:
            return
        for options in ({"dtype": "float32"}, {"source": str(corpus / "sub")}, {"tokenizer": make_codec(scale=4.0)}):
            with pytest.raises(InUseError) as found:
                encode(**options)
            refused.append(str(found.value))

    assert encode(progress=interfere).complete
    assert len(refused) == 3
    for message in refused:
        assert f"is in use: process {os.getpid()} on " in message
        assert "with other settings or from another source; wait until it has ended" in message
    assert encode().already_complete


def test_the_same_settings_join(encode, make_codec, tmp_path, read_tree):
    encode("alone", tokenizer=make_codec(delay_s=0.02))
    joined = []

    def join():
        joined.append(encode(tokenizer=make_codec(delay_s=0.02)))

    helper = threading.Thread(target=join)

    def start(state):
        if state.phase == "encode" and not helper.ident:
            helper.start()

    mine = encode(tokenizer=make_codec(delay_s=0.02), progress=start)
    helper.join()
    (other,) = joined
    assert mine.num_shards_encoded > 0
    assert other.num_shards_encoded > 0
    assert mine.num_shards_encoded + other.num_shards_encoded == mine.num_shards
    assert mine.complete or other.complete
    assert read_tree(tmp_path / "dataset") == read_tree(tmp_path / "alone")


def test_a_second_process_does_not_plan_while_the_first_does(encode, tmp_path, monkeypatch, caplog):
    folder = tmp_path / "dataset"
    keys = []
    monkeypatch.setattr(sharing, "POLL_S", 0.01)
    take = Locks.take

    def note(self, name, key=""):
        keys.append(key)
        return take(self, name, key)

    monkeypatch.setattr(Locks, "take", note)
    encode("first")
    key = keys[0]
    planner = Locks(folder / LOCKS)
    assert planner.take("plan", key) is None
    close_when_logged(caplog, "waiting for the plan", planner)
    with caplog.at_level(logging.INFO, "latentune.job"):
        assert encode().complete
    assert f"waiting for the plan of the dataset, which process {os.getpid()}" in caplog.text
    with Locks(folder / LOCKS) as other:
        other.take("plan", "other settings")
        with pytest.raises(InUseError):
            encode()


def test_shards_of_others_are_waited_for_and_taken_over(encode, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(sharing, "POLL_S", 0.01)
    encode("alone")
    other = Locks(tmp_path / "dataset" / LOCKS)
    (tmp_path / "dataset").mkdir()
    other.take("shard-1")
    close_when_logged(caplog, "waiting for 1 shards", other)
    with caplog.at_level(logging.INFO, "latentune.job"):
        summary = encode()
    assert f"waiting for 1 shards that others encode: process {os.getpid()}" in caplog.text
    assert summary.num_shards_encoded == summary.num_shards


def test_one_process_completes_the_dataset(encode, tmp_path, read_tree, caplog):
    encode("alone")
    with Locks(tmp_path / "dataset" / LOCKS) as other:
        other.take("finalise")
        with caplog.at_level(logging.INFO, "latentune.job"):
            summary = encode()
        assert not summary.complete
        assert f"process {os.getpid()}" in summary.completed_by
        assert f"all shards are encoded; process {os.getpid()}" in caplog.text
        assert not LatentDataset(tmp_path / "dataset").complete
    assert encode().complete
    assert read_tree(tmp_path / "dataset") == read_tree(tmp_path / "alone")


@pytest.mark.slow
def test_processes_for_several_devices_make_the_same_dataset(encode, tmp_path, read_tree):
    alone = encode("alone")
    summary = encode(num_processes=2, device="cpu")
    assert summary.encoded_hours == pytest.approx(alone.encoded_hours)
    changes = {"path": "", "elapsed_s": 0.0, "encoded_hours": 0.0}
    assert replace(summary, **changes) == replace(alone, **changes)
    assert read_tree(tmp_path / "dataset") == read_tree(tmp_path / "alone")


def test_a_folder_is_left_as_it_was_found_where_nothing_is_made(encode, tmp_path, read_tree):
    with pytest.raises(FileNotFoundError):
        encode(source=str(tmp_path / "nothing"))
    assert not (tmp_path / "dataset").exists()


def test_an_interrupted_run_gives_up_its_locks(encode, encode_a_part, tmp_path, read_tree):
    encode("whole")
    encode_a_part()
    assert not (tmp_path / "dataset" / LOCKS).exists()
    assert encode().num_shards_encoded > 0
    assert read_tree(tmp_path / "dataset") == read_tree(tmp_path / "whole")
