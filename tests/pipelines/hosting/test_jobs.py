"""The queue: turns in order, a limit, timeouts, and places that are freed."""

from __future__ import annotations

import threading
import time

import pytest

from latentune.pipelines.hosting.jobs import JobCancelledError, Jobs, JobTimeoutError, QueueFullError
from latentune.pipelines.hosting.seeds import LARGEST_SEED, chosen_seed


def wait_until(true: object) -> None:
    deadline = time.monotonic() + 10
    while not true():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_job_at_a_time_has_its_turn_and_they_come_in_order() -> None:
    jobs, order, now = Jobs(8, 10.0), [], []

    def work(number: int) -> None:
        with jobs.admit() as job, job.turn():
            now.append(number)
            assert len(now) == 1
            order.append(number)
            time.sleep(0.01)
            now.remove(number)

    first = jobs.admit()
    threads = []
    with first.turn():
        for number in range(6):
            threads.append(threading.Thread(target=work, args=(number,)))
            threads[-1].start()
            wait_until(lambda: len(jobs._waiting) == len(threads))
        assert order == []
    for thread in threads:
        thread.join()
    assert order == list(range(6))
    assert len(jobs) == 1
    first.close()
    first.close()  # twice does no harm
    assert len(jobs) == 0


def test_a_full_queue_refuses_with_the_time_to_wait() -> None:
    jobs = Jobs(2, 10.0)
    one, _ = jobs.admit(), jobs.admit()
    with pytest.raises(QueueFullError, match="queue of 2 requests is full: try again in") as error:
        jobs.admit()
    assert error.value.retry_after_s >= 1
    one.close()
    jobs.admit()


def test_a_job_that_fails_frees_its_place_and_its_turn() -> None:
    jobs = Jobs(1, 10.0)
    with pytest.raises(ZeroDivisionError), jobs.admit() as job, job.turn():
        1 / 0  # noqa: B018
    with jobs.admit() as job, job.turn():
        pass


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs() -> None:
    jobs, raised = Jobs(3, 10.0), []

    def wait(job: object) -> None:
        try:
            with job, job.turn():  # type: ignore[attr-defined]
                pass
        except JobCancelledError as error:
            raised.append(error)

    with jobs.admit() as running, running.turn():
        waiting = jobs.admit()
        thread = threading.Thread(target=wait, args=(waiting,))
        thread.start()
        wait_until(lambda: jobs._waiting)
        waiting.cancel()
        thread.join()
        assert len(raised) == 1
        running.progress(1, 2)
        running.cancel()
        with pytest.raises(JobCancelledError):
            running.progress(2, 2)
    assert len(jobs) == 0


def test_a_job_ends_when_its_time_is_over_also_while_it_waits() -> None:
    jobs = Jobs(2, 0.05)
    running, waiting = jobs.admit(), jobs.admit()
    with running.turn():
        with pytest.raises(JobTimeoutError, match=r"longer than 0\.05 s"), waiting.turn():
            pass
        with pytest.raises(JobTimeoutError):
            running.check()
        running.extend()
        running.check()


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Jobs(0, 1.0)


def test_seeds_are_kept_or_drawn() -> None:
    assert chosen_seed(3.0) == 3
    assert chosen_seed(LARGEST_SEED) == LARGEST_SEED
    assert len({chosen_seed(None) for _ in range(8)}) > 1
    for wrong in (-1, 2**32, 0.5, True):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            chosen_seed(wrong)
