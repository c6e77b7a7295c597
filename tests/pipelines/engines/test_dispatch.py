"""The dispatch of tasks to workers, some of which never answer."""

from collections.abc import Collection, Sequence
from typing import Any

import pytest

from latentune.pipelines.engines.dispatch import Dispatcher, Pool


class Workers(Pool):
    """Do the task that was given first, unless they are lost.

    Args:
        lost: workers that never do anything.
    """

    def __init__(self, num_workers: int, lost: Collection[int] = ()):
        self.num_workers, self.lost = num_workers, lost
        self.given: list[tuple[int, Any]] = []  # worker and task of each handle
        self.done: list[int] = []

    def submit(self, worker: int, task: Any) -> int:
        self.given.append((worker, task))
        return len(self.given) - 1

    def wait(self, handles: Collection[int], timeout_s: float) -> int | None:
        able = [handle for handle in handles if self.given[handle][0] not in self.lost]
        return max(able, default=None)  # the last one: results do not come in order by themselves

    def results(self, handle: int) -> Sequence[Any]:
        self.done.append(handle)
        return [self.given[handle][1]]


@pytest.mark.parametrize("lost", [(), (0,), (1, 2)])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("num_tasks", [0, 1, 2, 50])
def test_every_task_is_done_once_though_workers_are_lost(lost: tuple[int, ...], ordered: bool, num_tasks: int) -> None:
    pool = Workers(4, lost)
    found = list(Dispatcher(pool, range(num_tasks), ordered).results())
    assert (found if ordered else sorted(found)) == list(range(num_tasks))
    assert len(pool.done) == num_tasks
    if not lost:
        assert len(pool.given) == num_tasks, "nothing is repeated"


def test_a_worker_that_is_only_slow_is_not_counted_twice() -> None:
    class Slow(Workers):
        def wait(self, handles: Collection[int], timeout_s: float) -> int | None:
            if len(self.given) == 1:
                return None  # nothing within the time: the task is repeated by the idle worker
            return min(handles)

    pool = Slow(2)
    assert list(Dispatcher(pool, ["a"], ordered=False).results()) == ["a"]
    assert [task for _, task in pool.given] == ["a", "a"]
    assert len(pool.done) == 1
