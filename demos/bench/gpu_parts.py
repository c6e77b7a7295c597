"""Parts of a benchmark that share one GPU and a limited time: their rows, times and memory, and what may go wrong."""

from __future__ import annotations

import gc
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timing import median_seconds
from torch.utils._python_dispatch import TorchDispatchMode

from latentune.core.files import write_json

logger = logging.getLogger("gpu_all")
Row = dict[str, Any]
Call = Callable[[], Any]
READS = {torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal, torch.ops.aten.index}


class HostReads(TorchDispatchMode):
    """Counts calls for which the host waits for a device: values of it that are read, shapes that depend on them, and
    copies that block.

    A CPU as the device stands in for a GPU, except for copies.
    """

    supports_higher_order_operators = True  # compiled FlexAttention, of whose inside nothing is counted

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self.count = device, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count += self._waits(func.overloadpacket, args, kwargs or {}, result)
        return result

    def _waits(self, operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> bool:
        if operation is torch.ops.aten.index and all(i is None or i.dtype != torch.bool for i in args[1]):
            return False
        if operation in READS:
            return bool(args[0].device.type == self.device)
        if operation is torch.ops.aten._to_copy:
            ends = {args[0].device.type, result.device.type}
            return len(ends) == 2 and self.device in ends and not kwargs.get("non_blocking", False)
        return False


def host_reads(call: Call, device: str = "cpu") -> int:
    with HostReads(device) as counter:
        call()
    return counter.count


@dataclass
class Bench:
    """Where everything is measured and for how long, and what was found so far."""

    device: torch.device
    repeats: int
    output: Path
    end: float  # of the time there is, as time.monotonic counts
    head: Row = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    kept: dict[str, Any] = field(default_factory=dict)  # what later parts are compared with, by name

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def add(self, row: Row) -> None:
        self.rows.append(row)
        logger.info("%s", json.dumps(row))
        write_json(self.output, {**self.head, "rows": self.rows})

    def clock(self) -> float:
        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def medians(self, calls: dict[str, Call]) -> dict[str, float]:
        for call in calls.values():
            call()  # kernels are chosen, and compiled where that is asked for
        return median_seconds(calls, self.repeats, clock=self.clock)

    def time(self, call: Call) -> Row:
        """Median seconds of a call, and on a GPU its peak memory together with that of the weights."""
        call()
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
        figures: Row = {"seconds": median_seconds({"": call}, self.repeats, clock=self.clock)[""]}
        return figures | ({"peak_mb": round(torch.cuda.max_memory_allocated() / 2**20)} if self.cuda else {})

    def run(self, name: str, rows: Callable[[], Iterator[Row]], limit_s: float) -> None:
        """Adds the rows of a part; what goes wrong is a row too."""
        start = time.monotonic()
        try:
            with alarm(min(limit_s, self.end - start)):
                for row in rows():
                    self.add({"part": name, **row})
        except Exception as error:  # whatever one part does, the others are measured
            self.add({"part": name, "failed": f"{type(error).__name__}: {error}"[:400]})
        logger.info("%s took %.0f s", name, time.monotonic() - start)
        gc.collect()
        torch._dynamo.reset()
        if self.cuda:
            torch.cuda.empty_cache()  # so that the next part's peak is its own


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Raises TimeoutError inside when the time is up, at the next step of Python; native calls run to their end."""
    if seconds <= 0:
        raise TimeoutError("no time was left for this part")

    def stop(*_: Any) -> None:
        raise TimeoutError(f"this part took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
