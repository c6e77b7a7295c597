"""The main program of a process of `ProcessPool`."""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
from multiprocessing.connection import Connection
from typing import Any

from .base import Worker


def main() -> None:
    """Does tasks that come through a pipe until it is closed."""
    connection = Connection(int(sys.argv[1]))
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    maker = connection.recv_bytes()
    device = connection.recv()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    worker: Worker[Any, Any] | None = None
    while True:
        task = inbox.get()
        try:
            if worker is None:
                worker = pickle.loads(maker)(device)
            message: tuple[bool, Any] = (True, list(worker.work(iter([pickle.loads(task)]))))
        except Exception as error:
            message = (False, _sendable(error))
        connection.send(message)


def _listen(connection: Connection, inbox: queue.SimpleQueue[bytes]) -> None:
    """Takes in tasks, and ends the process at once when the other side is gone, also in the middle of a task."""
    try:
        while True:
            inbox.put(connection.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
