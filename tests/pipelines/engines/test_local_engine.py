"""Engines of one machine: this process, and processes that die."""

import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from engine_workers import Reporter, make_doubler

from latentune.core.errors import ConfigError, EngineError
from latentune.pipelines.engines import EngineConfig, LocalEngine, build_engine
from latentune.pipelines.engines import config as config_module
from latentune.pipelines.engines.config import available_cores
from latentune.pipelines.engines.ray import RayEngine

CPUS = ("cpu", "cpu", "cpu")


@pytest.mark.parametrize("devices", [("cpu",), CPUS])
@pytest.mark.parametrize("ordered", [True, False])
def test_every_task_is_done(devices: tuple[str, ...], ordered: bool) -> None:
    found = list(LocalEngine(devices).run(make_doubler, range(20), ordered=ordered))
    assert (found if ordered else sorted(found)) == [2 * task for task in range(20)]
    assert list(LocalEngine(devices).run(make_doubler, [], ordered=ordered)) == []


@pytest.mark.parametrize(("ordered", "most"), [(True, 12), (False, 3)])
def test_tasks_are_drawn_when_a_worker_is_free(ordered: bool, most: int) -> None:
    drawn, done = 0, 0

    def tasks() -> Iterator[int]:
        nonlocal drawn
        for task in range(40):
            assert drawn - done <= most
            drawn += 1
            yield task

    for _ in LocalEngine(CPUS).run(make_doubler, tasks(), ordered=ordered):
        done += 1
    assert drawn == done == 40


@pytest.mark.parametrize("devices", [("cpu",), CPUS])
def test_what_a_worker_raises_is_raised_here(devices: tuple[str, ...]) -> None:
    before = threading.active_count()
    with pytest.raises(ValueError, match="task 4 is bad"):
        list(LocalEngine(devices).run(partial(make_doubler, fail_at=4), range(1000)))
    assert threading.active_count() < before + 20


def test_processes_that_die_are_replaced(tmp_path: Path) -> None:
    found = list(LocalEngine(("cpu", "cpu")).run(partial(make_doubler, die_once=tmp_path), range(4)))
    assert found == [0, 2, 4, 6]
    assert len(list(tmp_path.iterdir())) == 4


def test_a_task_that_kills_every_worker_ends_the_run() -> None:
    with pytest.raises(EngineError, match=r"killed by SIGKILL 3 times .* memory"):
        list(LocalEngine(("cpu", "cpu")).run(partial(make_doubler, die_at=2), range(6)))


def test_each_device_has_a_process_that_ends_with_the_run() -> None:
    results = LocalEngine(("cuda:0", "cuda:1")).run(Reporter, range(8))
    found = set(results)
    assert {device for device, _ in found} == {"cuda:0", "cuda:1"}
    pids = {pid for _, pid in found}
    assert len(pids) == 2
    assert os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("settings", "num_gpus", "environ", "devices"),
    [
        ({}, 0, {}, ["cpu"]),
        ({"num_processes": 2}, 0, {}, ["cpu", "cpu"]),
        ({}, 1, {}, ["cuda"]),
        ({}, 3, {}, ["cuda:0", "cuda:1", "cuda:2"]),
        ({"device": "cuda", "num_processes": 4}, 3, {}, ["cuda:0", "cuda:1", "cuda:2", "cuda:0"]),
        ({"num_processes": 1}, 3, {}, ["cuda:0"]),
        ({"device": "cuda:2"}, 3, {}, ["cuda:2"]),
        ({"device": "cpu"}, 3, {}, ["cpu"]),
        ({}, 3, {"RANK": "4", "WORLD_SIZE": "6", "LOCAL_RANK": "1"}, ["cuda:1"]),
    ],
)
def test_gpus_become_processes(
    settings: dict[str, object],
    num_gpus: int,
    environ: dict[str, str],
    devices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    engine = build_engine(EngineConfig(**settings))  # type: ignore[arg-type]
    assert isinstance(engine, LocalEngine)
    assert list(engine.devices) == devices
    assert engine.remote == (len(devices) > 1)


def test_settings_that_do_not_fit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    for settings, message in (
        ({"num_processes": 0}, "num_processes must be at least 1"),
        ({"num_processes": 2, "engine": "ray"}, "set ray.num_workers"),
    ):
        with pytest.raises(ConfigError, match=message):
            EngineConfig(**settings)  # type: ignore[arg-type]
    ray = EngineConfig(engine="ray", device="cpu")
    if not torch.cuda.is_available():
        assert EngineConfig(engine="ray", device="cuda").own_device() == "cpu", (
            "the workers have GPUs, not this process"
        )
    assert isinstance(build_engine(ray), RayEngine)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="this is process 1 of 2 of torchrun"):
        build_engine(ray)


@pytest.mark.parametrize(
    ("settings", "environ", "num_cores", "num_threads"),
    [
        ({}, {}, 4, 4),
        ({}, {}, 1, 2),
        ({}, {}, 64, 8),
        ({"num_processes": 4}, {}, 16, 4),
        ({}, {"RANK": "0", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4"}, 12, 3),
        ({"engine": "ray"}, {}, 64, 2),
    ],
)
def test_processes_share_the_cores(
    settings: dict[str, object],
    environ: dict[str, str],
    num_cores: int,
    num_threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(config_module, "available_cores", lambda: num_cores)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert EngineConfig(device="cpu", **settings).threads_per_process() == num_threads  # type: ignore[arg-type]
    assert available_cores() >= 1
