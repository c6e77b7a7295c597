"""The order of examples, and the batches that are prepared ahead."""

import itertools
from typing import Any

import pytest

from latentune.core.errors import TrainingError
from latentune.pipelines.training.loader import micro_batches


class Numbers:
    """Examples that are their own number."""

    def __init__(self, fail_at: int | None = None):
        self.fail_at, self.loaded = fail_at, 0

    def keys(self, first: int, count: int) -> range:
        return range(first, first + count)

    def batch(self, keys: range) -> list[int]:
        self.loaded = max(self.loaded, *keys)
        if self.fail_at in keys:
            raise TrainingError(f"example {self.fail_at} is broken")
        return list(keys)


def take(count: int, **options: Any) -> list[list[int]]:
    batches = micro_batches(Numbers(), **options)
    taken = list(itertools.islice(batches, count))
    batches.close()
    return taken


def test_batches_follow_one_order_from_any_step_on() -> None:
    whole = take(6, first_step=0, batch_size=4, parts=2, num_threads=3)
    assert list(itertools.chain(*whole)) == list(range(12))
    assert take(2, first_step=2, batch_size=4, parts=2, num_threads=2) == whole[4:]


@pytest.mark.parametrize(("world_size", "parts"), [(1, 1), (1, 4), (2, 1), (2, 2), (4, 1)])
def test_processes_and_parts_share_a_step_without_gap_or_overlap(world_size: int, parts: int) -> None:
    shares = [
        take(parts, first_step=3, batch_size=8, parts=parts, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert sorted(itertools.chain(*itertools.chain(*shares))) == list(range(24, 32))


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 6 cannot be shared evenly by 2 process"):
        take(1, first_step=0, batch_size=6, parts=2, world_size=2)


def test_reading_ahead_is_bounded() -> None:
    examples = Numbers()
    batches = micro_batches(examples, first_step=0, batch_size=2, parts=1, prefetch_batches=3)
    next(batches)
    batches.close()
    assert examples.loaded <= 5


def test_an_example_that_fails_stops_the_loop_at_its_batch() -> None:
    batches = micro_batches(Numbers(fail_at=3), first_step=0, batch_size=2, parts=1, prefetch_batches=4)
    assert next(batches) == [0, 1]
    with pytest.raises(TrainingError, match="example 3"):
        next(batches)
