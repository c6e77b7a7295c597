"""The place of this process among those that torchrun, accelerate or srun started together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from .errors import ConfigError

# launcher -> variables of rank and number of processes, in all and on this machine; an earlier launcher wins
LAUNCHERS = {
    "torchrun": (("RANK",), ("WORLD_SIZE",), ("LOCAL_RANK",), ("LOCAL_WORLD_SIZE",)),
    "srun": (
        ("SLURM_PROCID",),
        ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"),
        ("SLURM_LOCALID",),
        ("SLURM_NTASKS_PER_NODE",),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Place:
    """The place of this process among `count`."""

    rank: int = 0
    count: int = 1
    local_rank: int | None = None  # on this machine; None if no launcher says it
    local_count: int = 1  # processes on this machine, as far as the launcher says it
    launcher: str = ""  # empty if this process was started alone

    @classmethod
    def now(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Returns the place that the environment gives this process.

        Raises:
            ConfigError: a variable is not a whole number, or the rank is not below the number of processes.
        """
        for launcher, (ranks, counts, local_ranks, local_counts) in LAUNCHERS.items():
            rank, count = (_number(environ, names) for names in (ranks, counts))
            if rank is None or count is None:
                continue
            if not 0 <= rank < count:
                raise ConfigError(
                    f"{ranks[0]} is {rank} and {counts[0]} is {count} in the environment: the rank must be within "
                    f"0..{max(0, count - 1)}; unset both to run one process"
                )
            return cls(
                rank=rank,
                count=count,
                local_rank=_number(environ, local_ranks),
                local_count=max(1, _number(environ, local_counts) or 1),
                launcher=launcher,
            )
        return cls()

    def gpu(self, num_gpus: int) -> int:
        """Returns which of the GPUs that this process sees is its own; processes share GPUs if there are fewer.

        Args:
            num_gpus: that this process sees; where srun gives each process one of its own, that is 1.
        """
        return (self.rank if self.local_rank is None else self.local_rank) % max(1, num_gpus)


def _number(environ: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    for name in names:
        text = environ.get(name, "")
        if not text:
            continue
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{name} in the environment is {text!r}, not a whole number: unset it") from None
    return None
