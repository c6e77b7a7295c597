"""The facts about a model that training and compilation need: its objectives, and the parts with a role in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn

from .objective import Objective
from .registry import find_class


class TrainableModel:
    """The objectives of a model, and the parts that are trained, sharded or compiled in a way of their own."""

    # what the model can be trained with, the default first: name -> `module:Class`, relative to this class's package
    objectives: ClassVar[Mapping[str, str]] = {}

    @property
    def repeated_blocks(self) -> Sequence[nn.Module]:
        """The blocks that the network consists of for the most part: the units of gradient checkpointing and sharding,
        and those whose matrices Muon trains. By default there are none.
        """
        return ()

    @property
    def compiled_parts(self) -> Sequence[nn.Module]:
        """The modules whose calls are compiled where that is asked for. By default it is the whole network."""
        network: Any = self  # the lazy imports of diffusers hide it from type checkers
        return [network]

    @classmethod
    def objective_class(cls, kind: str | None = None) -> type[Objective]:
        """Returns the training objective called `kind`: a name in `objectives`, or `module:Class`.

        Args:
            kind: by default the first one in `objectives`.

        Raises:
            ConfigError: an unknown name (with the nearest known one), or a path that leads to no objective.
            ValueError: no name is given and the class has no objective of its own.
        """
        if kind is None:
            if not cls.objectives:
                raise ValueError(f"{cls.__name__} has no training objective: name one in model.objective.kind")
            kind = next(iter(cls.objectives))
        owner = next(base for base in cls.__mro__ if "objectives" in vars(base))
        package = owner.__module__.rpartition(".")[0] or None
        base: type[Objective] = Objective  # type: ignore[type-abstract]
        return find_class(kind, cls.objectives, base, what=f"training objective of {cls.__name__}", package=package)
