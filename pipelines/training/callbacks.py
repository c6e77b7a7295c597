"""Work at intervals of a training run, such as previews: handed to `train`, called by the loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

from ...core.configured import ConfiguredModel
from .environment import Processes
from .log import MetricsLog


class Callback(Protocol):
    """Called in the main process after every `every`-th optimizer step and after the last one, and nowhere else.

    The other processes wait meanwhile, at most `process_timeout_min` minutes.
    """

    @property
    def every(self) -> int:
        """Optimizer steps between two calls; with 0 there are no calls."""
        ...

    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog) -> None:
        """Looks at the run.

        Args:
            step: number of optimizer steps done; the checkpoint of this step, if it is due, is already saved.
            model: the averaged weights, in eval mode. The callback must not change them.
            log: takes figures and audio of this step.
        """
        ...


class SharedCallback(ABC):
    """Like a `Callback`, but called in every process at the same time, so that the processes can share the work."""

    every: int

    @abstractmethod
    def __call__(self, step: int, model: ConfiguredModel, log: MetricsLog | None, processes: Processes) -> None:
        """Looks at the run; see `Callback`.

        Args:
            step: number of optimizer steps done.
            model: the averaged weights, in eval mode.
            log: takes figures and audio in the main process; None in the others.
            processes: of the run, and which of them this one is.
        """


def is_due(every: int, step: int, last_step: int) -> bool:
    """Returns whether something that happens at intervals is due.

    Args:
        every: steps between two times; 0 means never.
        step: number of steps done.
        last_step: of the run; the last step is always due.
    """
    return every > 0 and (step % every == 0 or step == last_step)
