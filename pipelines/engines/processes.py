"""Workers in processes of their own on this machine.

They are started by their module and not as copies of the main program, so that a script needs no guard around its code.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any

from ...core.errors import EngineError
from .base import MakeWorker
from .dispatch import Pool

MOST_DEATHS = 3  # of workers by one task
CHILD = "from latentune.pipelines.engines.child import main; main()"


class ProcessPool(Pool):
    """One worker per device.

    Args:
        make_worker: makes a worker on a device; it is sent to the processes.
        devices: of the workers.
    """

    def __init__(self, make_worker: MakeWorker[Any, Any], devices: Sequence[str]):
        self.num_workers = len(devices)
        self._done: dict[int, tuple[bool, Any]] = {}  # task -> whether it succeeded, and its results or error
        self._deaths: dict[int, int] = {}
        self._num_tasks = 0
        maker = pickle.dumps(make_worker)
        self._children = [_Child(maker, device, len(devices)) for device in devices]

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes."""
        return [child.process.pid for child in self._children]

    def submit(self, worker: int, task: Any) -> int:
        self._num_tasks += 1
        self._children[worker].give(self._num_tasks, pickle.dumps(task))
        return self._num_tasks

    def wait(self, handles: Collection[int], timeout_s: float) -> int:
        while not (found := self._done.keys() & set(handles)):  # without a limit: a death is noticed at once
            ready = wait([child.connection for child in self._children if child.tasks])
            for child in self._children:
                if child.connection in ready:
                    self._receive(child)
        return min(found)

    def results(self, handle: int) -> Sequence[Any]:
        succeeded, value = self._done.pop(handle)
        if succeeded:
            return list(value)
        raise value

    def _receive(self, child: _Child) -> None:
        try:
            message = child.connection.recv()
        except (EOFError, OSError):
            self._replace(child)
            return
        self._done[child.tasks.popleft()[0]] = message

    def _replace(self, child: _Child) -> None:
        """Starts a process again that died, with the tasks that it had."""
        number, code = child.tasks[0][0], child.process.wait()
        self._deaths[number] = self._deaths.get(number, 0) + 1
        if self._deaths[number] < MOST_DEATHS:
            child.start()
            return
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        more = ", perhaps because the memory was exhausted" if code == -signal.SIGKILL else ""
        raise EngineError(f"a worker process {how} {MOST_DEATHS} times while it did the same task{more}")

    def close(self) -> None:
        """Ends the processes."""
        for child in self._children:
            child.end()


class _Child:
    """A process with a worker, and the tasks that it has not finished."""

    def __init__(self, maker: bytes, device: str, num_children: int):
        import torch

        self.maker, self.device = maker, device
        self.num_threads = max(1, torch.get_num_threads() // num_children)
        self.tasks: deque[tuple[int, bytes]] = deque()
        self.start()

    def start(self) -> None:
        """Starts the process, again after a death, and gives it its tasks."""
        self.connection: Connection
        self.connection, other = Pipe()
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, str(other.fileno())],
            pass_fds=[other.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(self.num_threads)},
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
        )
        other.close()
        with suppress(OSError):  # it died already, which `recv` will say
            self.connection.send_bytes(self.maker)
            self.connection.send(self.device)
            for _, task in self.tasks:
                self.connection.send_bytes(task)

    def give(self, number: int, task: bytes) -> None:
        self.tasks.append((number, task))
        with suppress(OSError):
            self.connection.send_bytes(task)

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()
