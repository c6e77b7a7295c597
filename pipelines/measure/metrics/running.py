"""Set metrics for training loops: `update` with batches, `compute` when asked, `reset` for the next round.

The protocol is that of torchmetrics, in plain classes: its `Metric` keeps state in tensors of the model's device and
precision, where these sums belong in float64 on the CPU, and it would be a dependency of the arithmetic for nothing
but the names. In several processes gather the objects (`torch.distributed.gather_object`) and `merge` them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

from .frechet import GaussianStatistics, frechet_distance
from .sets import as_embeddings

Result = TypeVar("Result")


class RunningFrechet:
    """The Fréchet distance of embeddings as they come; memory does not grow with their number."""

    def __init__(self, dim: int, reference: Any = None, identity: Mapping[str, Any] | None = None):
        """`reference`: `GaussianStatistics` or embeddings [n, D] to start from, `dim` D, `identity` the embedder's."""
        if isinstance(reference, GaussianStatistics):
            identity = reference.identity if identity is None else identity
        self.generated = GaussianStatistics.empty(dim, identity)
        self.reference = GaussianStatistics.empty(dim, identity)
        if isinstance(reference, GaussianStatistics):
            self.reference.merge(reference)
        elif reference is not None:
            self.reference.update(reference)

    def update(self, embeddings: Any, *, real: bool = False) -> None:
        """Take in embeddings [n, D], generated or `real`."""
        (self.reference if real else self.generated).update(embeddings)

    def compute(self) -> float:
        """The distance of all that came since the last reset. Raises ValueError below two embeddings on a side."""
        return frechet_distance(self.reference, self.generated)

    def reset(self, *, real: bool = False) -> None:
        """Forget the generated embeddings, with `real` the reference too."""
        self.generated = GaussianStatistics.empty(self.generated.dim, self.generated.identity)
        if real:
            self.reference = GaussianStatistics.empty(self.reference.dim, self.reference.identity)

    def merge(self, other: RunningFrechet) -> None:
        """Take in the generated embeddings that `other` has seen; both are taken to share one reference."""
        self.generated.merge(other.generated)


class RunningSets(Generic[Result]):
    """Any metric of two sets, as `function(reference, generated)`; it keeps all embeddings.

    Example:
        metric = RunningSets(kernel_audio_distance, reference)
        metric.update(embedder.embed(audio))
        metric.compute()
    """

    def __init__(self, function: Callable[[np.ndarray, np.ndarray], Result], reference: Any = None):
        self.function = function
        self._reference = [] if reference is None else [as_embeddings(reference, "reference")]
        self._generated: list[np.ndarray] = []

    def update(self, embeddings: Any, *, real: bool = False) -> None:
        """Take in embeddings [n, D], generated or `real`."""
        (self._reference if real else self._generated).append(as_embeddings(embeddings))

    def compute(self) -> Result:
        """The metric of all that came since the last reset. Raises ValueError where a side is empty."""
        for name, parts in (("reference", self._reference), ("generated", self._generated)):
            if not parts:
                raise ValueError(f"there are no {name} embeddings yet: call update first")
        return self.function(np.concatenate(self._reference), np.concatenate(self._generated))

    def reset(self, *, real: bool = False) -> None:
        """Forget the generated embeddings, with `real` the reference too."""
        self._generated = []
        if real:
            self._reference = []

    def merge(self, other: RunningSets[Result]) -> None:
        """Take in the generated embeddings that `other` has seen; both are taken to share one reference."""
        self._generated += other._generated
