"""Processes that embed together through the cache: each does what nobody does, and the first one has all results."""

import logging
import os
import threading
from pathlib import Path

import pytest
from compared_sets import ALL, Tagger, run, values

from latentune.core.errors import ConfigError
from latentune.core.locks import LOCKS, Locks
from latentune.pipelines.evaluate import EvaluateConfig, embed_share
from latentune.pipelines.measure.sets import gather, share


@pytest.fixture
def as_rank(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Makes this process one of two."""
    monkeypatch.setattr(gather, "FILES_PER_TASK", 2)
    monkeypatch.setattr(share, "POLL_S", 0.01)

    def become(rank: int) -> None:
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")

    return become


def config(sets: tuple[Path, Path, Path], cache: Path) -> EvaluateConfig:
    real, near, far = map(str, sets)
    return EvaluateConfig(
        reference=real, generated=near, systems=(far,), metrics=ALL, bootstrap=50, device="cpu", cache_dir=str(cache)
    )


def test_what_one_process_embeds_the_first_one_measures(
    sets: tuple[Path, Path, Path], tmp_path: Path, as_rank, caplog: pytest.LogCaptureFixture
) -> None:
    expected, whole, cache = run(*sets, metrics=ALL), Tagger(), tmp_path / "cache"
    as_rank(1)
    with caplog.at_level(logging.INFO, "latentune.job"):
        embed_share(config(sets, cache), embedder=whole)
    assert whole.num_embedded > 0
    assert "process 2 of 2 embedded 4 of 4 tasks" in caplog.text
    as_rank(0)
    rest, output = Tagger(), tmp_path / "result.json"
    found = run(*sets, metrics=ALL, embedder=rest, cache_dir=str(cache), output=str(output))
    assert rest.num_embedded == 0
    assert values(found) == pytest.approx(values(expected), rel=1e-5)  # other windows share a batch
    assert output.exists()
    assert {len(path.name) for path in cache.iterdir()} == {2}, "nothing but embeddings"


def test_only_the_first_process_writes(sets: tuple[Path, Path, Path], tmp_path: Path, as_rank) -> None:
    as_rank(1)
    found = run(*sets, cache_dir=str(tmp_path / "cache"), output=str(tmp_path / "result.json"))
    assert values(found) == pytest.approx(values(run(*sets, cache_dir=str(tmp_path / "cache"))))
    assert not (tmp_path / "result.json").exists()


def test_a_task_that_another_process_has_is_left_to_it_or_waited_for(
    sets: tuple[Path, Path, Path], tmp_path: Path, as_rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_rank(1)
    taken: list[str] = []
    take = Locks.take

    def note(self: Locks, name: str, key: str = "") -> object:
        taken.append(name)
        return take(self, name, key)

    monkeypatch.setattr(Locks, "take", note)
    embed_share(config(sets, tmp_path / "first"), embedder=Tagger())
    assert len(taken) == 12, "four tasks of each set"
    monkeypatch.undo()
    as_rank(1)
    monkeypatch.setattr(gather, "FILES_PER_TASK", 2)
    other, mine = Locks(tmp_path / "cache" / LOCKS), Tagger()
    assert other.take(taken[0]) is None
    embed_share(config(sets, tmp_path / "cache"), embedder=mine)
    missing = Tagger()
    as_rank(0)
    threading.Timer(0.3, other.close).start()  # as if it had died: the task is not done
    run(*sets, metrics=ALL, embedder=missing, cache_dir=str(tmp_path / "cache"))
    assert 0 < missing.num_embedded < mine.num_embedded
    assert not (tmp_path / "cache" / LOCKS).exists()


def test_without_a_cache_it_is_refused(sets: tuple[Path, Path, Path], as_rank) -> None:
    as_rank(1)
    with pytest.raises(ConfigError, match=r"process 1 of 2 of torchrun, .* give cache_dir"):
        run(*sets)
    assert os.environ["RANK"] == "1"
