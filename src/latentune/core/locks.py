"""Locks that processes on one or several machines share through files in a common folder.

The lock `plan` is the file `plan.1`, created exclusively, with its holder as JSON. A holder lives while its process
runs (same machine) or while it refreshes the time of its files (any machine). If it is dead, another process takes the
lock over by creating `plan.2`: of several that try, one succeeds, and no file of a living process is ever deleted.
"""

from __future__ import annotations

import functools
import json
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import InUseError

LOCKS = ".locks"  # the folder of the locks of an output
BEAT_S = 10.0  # time between two refreshes of a lock
STALE_S = 180.0  # time without a refresh after which a holder on another machine is dead; NFS shows times 60 s late
SAME_START_S = 1.0  # largest difference between two readings of the start of one process


@dataclass(frozen=True, kw_only=True)
class Holder:
    """A process that holds a lock."""

    machine: str  # host, boot and namespace of process numbers: within these, a number is one process
    host: str
    pid: int
    started_s: float  # when the process started (Unix time): numbers of processes are used again
    since: str  # when it took the lock, UTC
    key: str  # what it holds the lock for
    token: str  # unique

    @classmethod
    def here(cls, key: str = "") -> Self:
        """Returns a new holder, which is this process."""
        return cls(
            machine=this_machine(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_s=start_of_process(os.getpid()) or 0.0,
            since=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            key=key,
            token=secrets.token_hex(8),
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} (since {self.since})"


UNREADABLE = Holder(machine="", host="an unknown machine", pid=0, started_s=0.0, since="?", key="", token="")


class Locks:
    """The locks of one user of a folder, which are released when it is closed.

    Args:
        folder: of the lock files; made with the first lock, and removed with the last one.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._held: dict[str, Path] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._pulse: threading.Thread | None = None

    def take(self, name: str, key: str = "") -> Holder | None:
        """Takes a lock that no living process holds.

        Args:
            name: of the lock.
            key: shown to those who find the lock held.

        Returns:
            None if this object holds the lock now, or the process that holds it.

        Raises:
            OSError: the folder cannot be written.
        """
        while True:
            found = [(number, path, _read(path)) for number, path in self._files(name)]
            for _, path, text in found:
                if self._is_alive(path, text):
                    return _holder(text)
            path = self.folder / f"{name}.{max([0, *(number for number, _, _ in found)]) + 1}"
            if self._create(path, Holder.here(key)):
                # a process that saw other files than this one may have created a file with another number
                others = {_read(other) for _, other in self._files(name) if other != path}
                if others <= {text for _, _, text in found}:
                    self._keep(name, path)
                    return None
                path.unlink(missing_ok=True)
            time.sleep(random.uniform(0.001, 0.02))

    def release(self, name: str) -> None:
        """Gives up a lock; nothing happens if it is not held."""
        with self._lock:
            mine = self._held.pop(name, None)
        if mine is not None:
            for _, path in self._files(name):  # those of dead processes first, or they would count again
                text = _read(path)
                # one without a text has just gone, or is of a process that tries to take the lock
                if text and not self._is_alive(path, text):
                    path.unlink(missing_ok=True)
            mine.unlink(missing_ok=True)

    def holders(self, prefix: str) -> list[Holder]:
        """Returns the living holders of all locks whose names begin with `prefix`, except those held here."""
        with self._lock:
            own = set(self._held.values())
        found = [(path, _read(path)) for path in self._all() if path.name.startswith(prefix) and path not in own]
        return [_holder(text) for path, text in found if self._is_alive(path, text)]

    def close(self) -> None:
        """Releases all locks, and removes the files of dead processes and the folder if it is empty."""
        self._closed.set()
        for name in list(self._held):
            self.release(name)
        # taken before they are removed: a file found dead may be that of a living process by the time it is unlinked
        for name in {path.stem for path in self._all()}:
            if self.take(name) is None:
                self.release(name)
        with suppress(OSError):
            self.folder.rmdir()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _all(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if path.suffix[1:].isdigit()]
        except OSError:
            return []

    def _files(self, name: str) -> list[tuple[int, Path]]:
        return sorted((int(path.suffix[1:]), path) for path in self._all() if path.stem == name)

    def _create(self, path: Path, holder: Holder) -> bool:
        text = json.dumps(asdict(holder)).encode()
        while True:
            try:
                file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                return False
            except FileNotFoundError:  # no folder yet, or another process has just removed it
                with suppress(FileExistsError):  # one that made it meanwhile has removed it again before mkdir looked
                    self.folder.mkdir(parents=True, exist_ok=True)
                continue
            try:
                os.write(file, text)  # at once: a file without a text holds the lock until it is stale
            finally:
                os.close(file)
            return True

    def _keep(self, name: str, path: Path) -> None:
        with self._lock:
            self._held[name] = path
        if self._pulse is None:
            self._pulse = threading.Thread(target=self._beat, name="locks", daemon=True)
            self._pulse.start()

    def _beat(self) -> None:
        while not self._closed.wait(BEAT_S):
            with self._lock:
                held = list(self._held.values())
            for path in held:
                with suppress(OSError):  # a disk that is away for a moment
                    os.utime(path)

    def _is_alive(self, path: Path, text: bytes) -> bool:
        holder = _holder(text)
        if holder.machine == this_machine():
            started_s = start_of_process(holder.pid)
            if started_s is None or abs(started_s - holder.started_s) < SAME_START_S:
                return started_s is not None  # else the number is of another process, or the clock was set
        try:
            return self._now() - path.stat().st_mtime < STALE_S
        except FileNotFoundError:
            return False

    def _now(self) -> float:
        """Returns the time of the file system, which may be that of a server."""
        probe = self.folder / f"clock-{secrets.token_hex(8)}"
        probe.touch()
        try:
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)


@contextmanager
def sole_user(folder: Path, work: str) -> Iterator[None]:
    """Holds the lock of an output that one process at a time may write.

    Args:
        folder: the output, which exists.
        work: what is done there, such as `train`; the name of the lock.

    Raises:
        InUseError: another process holds it.
        OSError: the folder cannot be written.
    """
    with Locks(folder / LOCKS) as locks:
        holder = locks.take(work)
        if holder is not None:
            raise InUseError(
                f"{folder} is in use: {holder} has it for {work}; stop it, wait until it has ended, or choose another "
                f"output. If its machine is gone, the folder is free {STALE_S / 60:g} minutes after that"
            )
        yield


@functools.cache
def this_machine() -> str:
    """Returns what identifies this machine, its boot, and the namespace of its process numbers (containers)."""
    parts = [socket.gethostname()]
    with suppress(OSError):  # not on Linux
        parts += [Path("/proc/sys/kernel/random/boot_id").read_text().strip(), os.readlink("/proc/self/ns/pid")]
    return " ".join(parts)


def start_of_process(pid: int) -> float | None:
    """Returns when a process of this machine started (Unix time), None if it has ended."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone, or of a user who lets nobody read it
        return b""


def _holder(text: bytes) -> Holder:
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return UNREADABLE
