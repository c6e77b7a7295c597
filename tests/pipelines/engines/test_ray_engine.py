"""The engine on a cluster: results in order, also where workers and machines die."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from engine_workers import make_doubler

from latentune.core.errors import ConfigError
from latentune.pipelines.engines.ray import RayEngine


def test_bad_settings_are_refused() -> None:
    for settings in (
        {"num_workers": 0},
        {"cpus_per_worker": 0.0},
        {"gpus_per_worker": -1.0},
        {"device": "cuda:1"},
        {"device": "cuda", "gpus_per_worker": 0.0},
    ):
        with pytest.raises(ConfigError):
            RayEngine(**settings)  # type: ignore[arg-type]


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"latentune\[ray\]"):
        list(RayEngine().run(make_doubler, [1]))


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


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As Ray's workers have it: rounding depends on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_an_evaluation_on_two_nodes_is_the_local_one_also_where_a_worker_is_killed(
    cluster: Any, audio: tuple[Path, Path], one_thread: None, monkeypatch: pytest.MonkeyPatch
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
    engine = RayEngine(num_workers=2)
    for ordered in (True, False):
        found = list(engine.run(make_doubler, range(23), ordered=ordered))
        assert (found if ordered else sorted(found)) == [2 * number for number in range(23)]
    with pytest.raises(ValueError, match="task 7 is bad"):
        list(engine.run(partial(make_doubler, fail_at=7), range(23)))
    with pytest.raises(ConfigError, match="too little for one worker"):
        list(RayEngine(gpus_per_worker=1.0).run(make_doubler, [1]))


@pytest.mark.slow
def test_a_node_that_dies_is_made_up_for(cluster: Any) -> None:
    found = []
    for place, result in enumerate(RayEngine(num_workers=2).run(make_doubler, range(400))):
        found.append(result)
        if place == 3:
            cluster.remove_node(cluster.second, allow_graceful=False)
            cluster.second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)
    assert found == [2 * number for number in range(400)]
