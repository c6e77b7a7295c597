"""Loading in the background, ahead of whoever needs the results, and in their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


def read_ahead(
    load: Callable[[Key], Value], keys: Iterable[Key], *, num_threads: int, num_ahead: int
) -> Generator[Value, None, None]:
    """Yields `load(key)` for each key, in order; see `read_groups_ahead`, of which each key is a group here.

    Args:
        load: as of `read_groups_ahead`.
        keys: may be endless.
        num_threads: as of `read_groups_ahead`.
        num_ahead: values that are loading or loaded while the caller works on the one it got.
    """
    with closing(
        read_groups_ahead(load, ((key,) for key in keys), num_threads=num_threads, num_ahead=num_ahead)
    ) as groups:
        for (value,) in groups:
            yield value


def read_groups_ahead(
    load: Callable[[Key], Value], groups: Iterable[Sequence[Key]], *, num_threads: int, num_ahead: int
) -> Generator[list[Value], None, None]:
    """Yields the values of each group of keys, in order, while threads load those of the groups that follow.

    What `load` raises is raised at the turn of its group. The threads end with the generator: at its last group, at an
    error, or when it is closed, where groups that are waiting are dropped.

    Args:
        load: called from several threads at once.
        groups: may be endless; it is read by the caller's thread.
        num_threads: with 0, each group is loaded in the caller's thread when it is asked for.
        num_ahead: groups that are loading or loaded while the caller works on the one it got.

    Raises:
        ValueError: a number below 0.
    """
    if num_threads < 0 or num_ahead < 0:
        raise ValueError(f"num_threads and num_ahead must not be below 0, got {num_threads} and {num_ahead}")
    if num_threads == 0:
        for group in groups:
            yield [load(key) for key in group]
        return
    upcoming = iter(groups)
    waiting: deque[list[Future[Value]]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="read-ahead")
    try:
        while True:
            for group in islice(upcoming, num_ahead + 1 - len(waiting)):
                waiting.append([pool.submit(load, key) for key in group])
            if not waiting:
                return
            yield [future.result() for future in waiting.popleft()]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
