"""How the benchmarks take times: all contenders in turn in one run, so that a slow moment of the machine hits each."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch


def median_seconds(
    contenders: Mapping[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Name -> median seconds of a call; the order alternates. Who needs a warm-up calls each before."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats):
        for name in list(contenders)[:: -1 if repeat % 2 else 1]:
            start = clock()
            contenders[name]()
            seconds[name].append(clock() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def add_precision(parser: argparse.ArgumentParser) -> None:
    """`--precision`, in which both contenders compute."""
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both contenders")


def official_autocast(precision: str) -> torch.autocast:
    """How official code computes in `precision`: its own weights under torch's autocast, a decorator or a context."""
    return torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
