"""Names of temporary files that say whose they are, so that those of dead processes can be removed."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
from pathlib import Path

from .locks import start_of_process, this_machine

NAME = re.compile(r"^\..*\.(?:([0-9a-f]{8})-)?(\d+)\.part(\.[a-z0-9]+)?$")
ABANDONED_S = 3600.0  # time without a change after which a file of another machine belongs to no one


def temporary_path(path: Path) -> Path:
    """Returns a name next to `path` for what this process writes, with the same suffix."""
    return path.with_name(f".{path.stem}.{_machine()}-{os.getpid()}.part{path.suffix}")


def is_temporary(path: Path) -> bool:
    """Returns whether a path has a name of `temporary_path`."""
    return NAME.match(path.name) is not None


def is_abandoned(path: Path) -> bool:
    """Returns whether a path has such a name, and the process that wrote it has ended."""
    found = NAME.match(path.name)
    if found is None:
        return False
    try:
        changed_s = path.stat().st_mtime
    except FileNotFoundError:
        return False
    if found[1] != _machine():
        return time.time() - changed_s > ABANDONED_S
    started_s = start_of_process(int(found[2]))
    return started_s is None or started_s > changed_s + 1.0  # the number is of another process now


@functools.cache
def _machine() -> str:
    return hashlib.sha256(this_machine().encode()).hexdigest()[:8]
