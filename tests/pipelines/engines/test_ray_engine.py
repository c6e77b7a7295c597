"""Engines: results in order, whoever did the work; on Ray also where workers and machines die."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from latentune.core.errors import ConfigError
from latentune.pipelines.engines import LocalEngine, Worker
from latentune.pipelines.engines.ray import RayEngine


class Doubler(Worker[int, int, int]):
    """Prepares n as n + 1 and gives twice that, with its place in the task; minds how many are prepared ahead."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at
        self.prepared = self.finished = self.most_ahead = 0
        self.lock = threading.Lock()

    def prepare(self, item: int) -> int:
        if item == self.fail_at:
            raise ValueError(f"item {item} is bad")
        with self.lock:
            self.prepared += 1
            self.most_ahead = max(self.most_ahead, self.prepared - self.finished)
        return item + 1

    def finish(self, prepared: Iterator[int]) -> Iterator[int]:
        for one in prepared:
            self.finished += 1
            yield 2 * one


@pytest.mark.parametrize("num_threads", [0, 1, 5])
@pytest.mark.parametrize("task_size", [1, 3, 100])
def test_results_come_in_order_and_few_are_ahead(num_threads: int, task_size: int) -> None:
    worker = Doubler()
    found = list(LocalEngine(num_threads).run(lambda: worker, range(20), task_size))
    assert found == [2 * (item + 1) for item in range(20)]
    assert worker.most_ahead <= num_threads + 2
    assert list(LocalEngine(num_threads).run(Doubler, [], task_size)) == []


@pytest.mark.parametrize("num_threads", [0, 3])
def test_what_a_worker_raises_is_raised_here_and_the_rest_is_left(num_threads: int) -> None:
    worker = Doubler(fail_at=4)
    results = LocalEngine(num_threads).run(lambda: worker, range(1000), 3)
    with pytest.raises(ValueError, match="item 4 is bad"):
        list(results)
    assert worker.prepared < 20
    assert threading.active_count() < 20


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="task_size"):
        list(LocalEngine().run(Doubler, [1], 0))
    for settings in ({"num_workers": 0}, {"cpus_per_worker": 0.0}, {"gpus_per_worker": -1.0}):
        with pytest.raises(ConfigError):
            RayEngine(**settings)


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"latentune\[ray\]"):
        list(RayEngine().run(Doubler, [1], 1))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines in one: a head and a second node, one CPU each."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # workers would give way to everything else on the machine, and a busy one must not be taken for dead
    settings = {"worker_niceness": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 10}
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args={**node, "_system_config": settings})
    found.second = found.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


@pytest.fixture(scope="module")
def audio(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Real and made files, and one that cannot be read."""
    root, rng = tmp_path_factory.mktemp("audio"), np.random.default_rng(0)
    for folder in ("real", "made"):
        (root / folder).mkdir()
        for number in range(20):
            soundfile.write(root / folder / f"{number:02d}.wav", 0.1 * rng.normal(size=8000 + 100 * number), 16_000)
    (root / "made" / "bad.wav").write_bytes(b"nothing")
    return root / "real", root / "made"


def test_an_evaluation_on_two_nodes_is_the_local_one_also_where_a_worker_is_killed(
    cluster: Any, audio: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import latentune.pipelines.measure.sets.gather as gather
    from latentune.pipelines.evaluate import EvaluateConfig, evaluate

    def config(engine: str) -> EvaluateConfig:
        return EvaluateConfig(
            reference=str(audio[0]), generated=str(audio[1]), engine=engine, bootstrap=20, num_threads=1, device="cpu"
        )

    monkeypatch.setattr(gather, "FILES_PER_TASK", 4)
    engines: list[RayEngine] = []
    build = gather.build_engine
    monkeypatch.setattr(gather, "build_engine", lambda config: engines.append(build(config)) or engines[-1])
    expected = evaluate(config("local"))
    killed: list[int] = []

    def kill_one(side: str, done: int, total: int) -> None:
        if side == "generated" and done == 5 and not killed:
            killed.append(min(engines[-1].pids))  # type: ignore[attr-defined]
            os.kill(killed[0], signal.SIGKILL)

    names = config("ray").system_names()
    found = evaluate(
        config("ray"), progress=lambda side, *counts: kill_one("generated" if side in names else side, *counts)
    )
    assert len(killed) == 1
    assert len(engines[-1].pids) >= 2, "two workers, and the one in place of that which was killed"
    assert found.to_dict()["systems"] == expected.to_dict()["systems"], "to the last bit"
    for side in ("reference", "generated"):
        assert found.facts[side] == expected.facts[side]
    assert [Path(one["path"]).name for one in found.facts["generated"]["failures"]] == ["bad.wav"]


@pytest.mark.slow
def test_what_a_worker_raises_on_ray_is_raised_here(cluster: Any) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Doubler"]))
    engine = RayEngine(num_workers=2, num_threads=1)
    assert list(engine.run(Doubler, range(23), 2)) == [2 * (item + 1) for item in range(23)]
    with pytest.raises(ValueError, match="item 7 is bad"):
        list(engine.run(lambda: Doubler(fail_at=7), range(23), 2))
    with pytest.raises(ConfigError, match="too little for one worker"):
        list(RayEngine(gpus_per_worker=1.0).run(Doubler, [1], 1))


@pytest.mark.slow
def test_a_node_that_dies_is_made_up_for(cluster: Any) -> None:
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(__import__(__name__, fromlist=["Doubler"]))
    found = []
    for place, result in enumerate(RayEngine(num_workers=2, num_threads=0).run(Doubler, range(400), 2)):
        found.append(result)
        if place == 3:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    assert found == [2 * (item + 1) for item in range(400)]
