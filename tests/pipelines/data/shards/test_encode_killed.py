"""SIGKILL at random moments: what is committed can be read, and a re-run gives the bytes of an uninterrupted run."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from latentune.pipelines.data.shards import LatentDataset


class Target:
    """The process that runs encode in a child of its own."""

    def __init__(self, source: Path):
        script = Path(__file__).with_name("kill_target.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(source)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        return self.process.stdout.readline().strip()

    def run(self, output: Path, kill_at: tuple[int, float] | None = None) -> int:
        """Encode into `output`; returns the wait status: 0 for done, 9 for killed.

        Args:
            kill_at: kill it when so many shards are committed, and so many seconds have passed since then.
        """
        self.process.stdin.write(f"{output}\n")
        self.process.stdin.flush()
        child = int(self._line())
        if kill_at is not None:
            num_shards, delay_s = kill_at
            with contextlib.suppress(ProcessLookupError):  # it was quicker
                while len(list((output / "shards").glob("[0-9]*"))) < num_shards:
                    os.kill(child, 0)
                    time.sleep(0.001)
                time.sleep(delay_s)
                os.kill(child, signal.SIGKILL)
        return int(self._line())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)


@pytest.fixture
def target(corpus):
    target = Target(corpus)
    yield target
    target.close()


def check_what_is_committed(folder: Path, reference: dict[str, bytes]) -> int:
    """The dataset opens, its items are whole, its shards final; returns their number."""
    if not (folder / "dataset.json").exists():
        return 0
    dataset = LatentDataset(folder)
    for item in dataset:
        assert torch.isfinite(item.latents).all()
        assert len(item.tokens) == dataset.spec.num_tokens(item.num_samples)
    for path in (folder / "shards").glob("[0-9]*.safetensors"):
        assert path.read_bytes() == reference[f"shards/{path.name}"]
    return len(dataset.shards)


@pytest.mark.parametrize("num_kills", [10, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_runs_end_in_the_same_bytes(target, tmp_path, read_tree, num_kills):
    assert target.run(tmp_path / "whole") == 0
    reference = read_tree(tmp_path / "whole")
    num_shards = len([name for name in reference if name.startswith("shards/")])
    assert num_shards > 4

    rng = random.Random(0)
    kills, rounds, seen = 0, 0, set()
    while kills < num_kills:
        folder = tmp_path / f"round{rounds}"
        rounds += 1
        for stage in sorted(rng.randint(0, num_shards) for _ in range(5)):  # kills of one dataset, then it may finish
            status = target.run(folder, kill_at=(stage, rng.uniform(0.0, 0.05)))
            assert status in (0, signal.SIGKILL)
            kills += status == signal.SIGKILL
            seen.add(check_what_is_committed(folder, reference))
            if status == 0:
                break
        assert target.run(folder) == 0
        assert read_tree(folder) == reference
        shutil.rmtree(folder)
    assert len(seen) > 3  # the kills did fall at different stages
