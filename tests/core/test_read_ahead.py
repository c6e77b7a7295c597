"""Loading ahead: the order, the bound, errors, and no thread that outlives it."""

import itertools
import random
import threading
import time
from collections.abc import Iterator

import pytest

from latentune.core.read_ahead import read_ahead, read_groups_ahead

THREADS = [0, 1, 3]


def num_threads() -> int:
    return sum(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def slow(key: int) -> int:
    """Takes a time that has nothing to do with the order."""
    time.sleep(random.Random(key).random() / 500)
    return key * key


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("ahead", [0, 1, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_values_come_in_the_order_of_their_keys(threads: int, ahead: int, count: int) -> None:
    assert list(read_ahead(slow, range(count), num_threads=threads, num_ahead=ahead)) == [k * k for k in range(count)]
    assert num_threads() == 0


@pytest.mark.parametrize("threads", THREADS)
def test_groups_keep_their_shape(threads: int) -> None:
    sizes = random.Random(0).choices(range(4), k=20)
    keys = itertools.count()
    groups = [list(itertools.islice(keys, size)) for size in sizes]
    found = list(read_groups_ahead(slow, iter(groups), num_threads=threads, num_ahead=3))
    assert found == [[slow(key) for key in group] for group in groups]


@pytest.mark.parametrize("ahead", [0, 1, 4])
def test_the_number_of_values_ahead_is_bounded_and_reached(ahead: int) -> None:
    started: list[int] = []
    values = read_ahead(lambda key: started.append(key) or key, itertools.count(), num_threads=2, num_ahead=ahead)
    for value in itertools.islice(values, 10):
        deadline = time.monotonic() + 10
        while len(started) < value + 1 + ahead and time.monotonic() < deadline:
            time.sleep(0.001)
        assert sorted(started) == list(range(value + 1 + ahead))
    values.close()


def test_several_threads_load_at_once() -> None:
    both = threading.Barrier(2, timeout=10)
    assert list(read_ahead(lambda key: both.wait() >= 0, range(4), num_threads=2, num_ahead=1)) == [True] * 4


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_is_raised_at_the_turn_of_its_key(threads: int) -> None:
    def load(key: int) -> int:
        if key == 3:
            raise RuntimeError(f"key {key}")
        return key

    values = read_ahead(load, range(9), num_threads=threads, num_ahead=4)
    assert [next(values) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="key 3"):
        next(values)
    assert num_threads() == 0
    assert list(values) == []


@pytest.mark.parametrize("threads", THREADS)
def test_an_error_of_the_keys_is_raised_and_ends_the_threads(threads: int) -> None:
    def keys() -> Iterator[int]:
        yield 0
        raise RuntimeError("no more keys")

    with pytest.raises(RuntimeError, match="no more keys"):
        list(read_ahead(slow, keys(), num_threads=threads, num_ahead=1))
    assert num_threads() == 0


@pytest.mark.parametrize("taken", [0, 1, 3])
def test_closing_early_leaves_no_thread_and_loads_no_more(taken: int) -> None:
    loaded: list[int] = []

    def load(key: int) -> int:
        loaded.append(key)
        time.sleep(0.002)
        return key

    values = read_ahead(load, itertools.count(), num_threads=2, num_ahead=20)
    assert list(itertools.islice(values, taken)) == list(range(taken))
    values.close()
    assert num_threads() == 0
    count = len(loaded)
    time.sleep(0.02)
    assert len(loaded) == count


@pytest.mark.parametrize("wrong", [{"num_threads": -1, "num_ahead": 1}, {"num_threads": 1, "num_ahead": -1}])
def test_negative_numbers_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must not be below 0"):
        next(read_ahead(slow, range(3), **wrong))
