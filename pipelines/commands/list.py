"""The command `latentune list`."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.config import option
from .options import ConfigCommand
from .tools import Outcome


@dataclass(frozen=True, kw_only=True)
class ListConfig:
    """Which names to list."""

    kind: str = option("all", "Kind.", positional=True)


def list(config: ListConfig) -> Outcome:
    """List names."""
    return Outcome(facts={})


command = ConfigCommand(list, "commands.list:ListConfig")
