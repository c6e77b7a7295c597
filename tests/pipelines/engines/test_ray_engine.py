"""The engine on a cluster: results in order, also where workers and machines die."""

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from engine_workers import make_doubler
from fake_codec import FakeCodec, FakeCodecConfig

from latentune.core.errors import ConfigError
from latentune.pipelines.encode import EncodeConfig, encode_dataset
from latentune.pipelines.engines.ray import RayEngine
from latentune.pipelines.evaluate import EvaluateConfig, evaluate


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
    with pytest.raises(ConfigError, match=r"pip install 'ray>="):
        list(RayEngine().run(make_doubler, [1]))


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
def engines(monkeypatch: pytest.MonkeyPatch) -> list[RayEngine]:
    """The engines that an evaluation builds, with small tasks."""
    import latentune.pipelines.measure.sets.gather as gather

    built: list[Any] = []
    build = gather.build_engine
    monkeypatch.setattr(gather, "FILES_PER_TASK", 4)
    monkeypatch.setattr(gather, "build_engine", lambda config: built.append(build(config)) or built[-1])
    return built


def evaluation(audio: tuple[Path, Path], engine: str, progress: Any = None) -> dict[str, Any]:
    """Returns the figures that an engine gives, and the facts about the sides."""
    config = EvaluateConfig(
        reference=str(audio[0]), generated=str(audio[1]), engine=engine, bootstrap=20, num_threads=1, device="cpu"
    )
    found = evaluate(config, progress=progress)
    return {"systems": found.to_dict()["systems"], **{side: found.facts[side] for side in ("reference", "generated")}}


def once(side: str, done: int, action: Any) -> Any:
    """A callback of progress that calls `action` when so many files of a side are done."""
    called = []

    def progress(name: str, now: int, total: int) -> None:
        if name == side and now >= done and not called:
            called.append(True)
            action()

    return progress


@pytest.mark.slow
def test_an_evaluation_on_two_nodes_is_the_local_one_also_where_a_worker_is_killed(
    cluster: Any, audio: tuple[Path, Path], engines: list[RayEngine], one_thread: None
) -> None:
    expected = evaluation(audio, "local")
    killed: list[int] = []

    def kill() -> None:
        killed.append(min(engines[-1].pids))
        os.kill(killed[0], signal.SIGKILL)

    assert evaluation(audio, "ray", once("made", 5, kill)) == expected, "to the last bit"
    assert len(killed) == 1
    assert len(engines[-1].pids) >= 2, "two workers, and the one in place of that which was killed"
    assert [Path(one["path"]).name for one in expected["generated"]["failures"]] == ["bad.wav"]


@pytest.mark.slow
def test_an_evaluation_survives_a_node(
    cluster: Any, audio: tuple[Path, Path], engines: list[RayEngine], one_thread: None
) -> None:
    expected = evaluation(audio, "local")
    assert evaluation(audio, "ray", once("real", 5, partial(replace_second_node, cluster))) == expected


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "node"])
def test_a_dataset_is_the_local_one_also_where_something_dies(cluster: Any, tmp_path: Path, victim: str) -> None:
    import latentune.pipelines.encode as module

    rng = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    for number in range(24):
        soundfile.write(tmp_path / "source" / f"{number:02d}.wav", rng.uniform(-0.5, 0.5, 8000 + 100 * number), 8000)
    (tmp_path / "source" / "bad.wav").write_bytes(b"nothing")
    engines: list[Any] = []
    build = module.build_engine
    died = []

    def act(state: Any) -> None:
        if state.phase == "encode" and state.items_done >= 4 and not died:
            died.append(victim)
            if victim == "node":
                replace_second_node(cluster)
            else:
                os.kill(min(engines[-1].pids), signal.SIGKILL)

    def run(output: str, engine: str, progress: Any = None) -> dict[str, bytes]:
        folder = tmp_path / output
        config = EncodeConfig(
            source=str(tmp_path / "source"),
            output=str(folder),
            max_duration_s=1.0,
            shard_hours=2.5 / 3600,
            engine=engine,
            device="cpu",
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "build_engine", lambda config: engines.append(build(config)) or engines[-1])
            codec = FakeCodec(FakeCodecConfig(delay_s=0.2))
            summary = encode_dataset(config, tokenizer=codec, progress=progress)
        assert summary.complete
        assert summary.num_shards_encoded == summary.num_shards > 10
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    expected = run("local", "local")
    assert run("ray", "ray", act) == expected
    assert died == [victim]


def replace_second_node(cluster: Any) -> None:
    """The second machine dies at once, and another one joins."""
    cluster.remove_node(cluster.second, allow_graceful=False)
    cluster.second = cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20)


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
            replace_second_node(cluster)
    assert found == [2 * number for number in range(400)]
