"""Fréchet distance of two sets of embeddings taken as Gaussians (Dowson and Landau 1982), in float64 throughout.

d = |mu_a - mu_b|^2 + Tr A + Tr B - 2 Tr (A B)^1/2, with covariances that divide by n - 1. `root_trace` takes the last
trace without a complex square root: the distance is real, symmetric in a and b, and at least 0.

Fewer embeddings than dimensions, n <= D, make a covariance singular. The distance is then still that of the formula,
exactly, with the directions that hold no variance at zero; nothing is added to the diagonal. It is finite, and 0 for
equal sets, but biased upwards by the missing directions: `frechet_infinity` shows by how much.

The order and the grouping in which embeddings came in change the distance by rounding alone: below 1e-9 of the traces
where covariances have full rank, below 1e-6 where they are singular (a root makes 1e-8 of a rounding of 1e-16).
Shape letters: n embeddings, D their width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ....core.errors import CheckpointError, MismatchError
from ....core.files import atomic_path
from .factored import factored_distance, factored_embeddings, factored_statistics
from .root_trace import root_trace
from .sets import as_rows, moments

FORMAT = "latentune-statistics-1"


@dataclass(kw_only=True)
class GaussianStatistics:
    """Count, mean and centred second moment of embeddings, gathered piece by piece."""

    mean: np.ndarray  # [D] float64
    scatter: np.ndarray  # [D, D] float64, sum of outer products about the mean
    num: int = 0  # embeddings seen
    identity: dict[str, Any] = field(default_factory=dict)  # what made the embeddings; only equals can be compared

    @classmethod
    def empty(cls, dim: int, identity: Mapping[str, Any] | None = None) -> GaussianStatistics:
        """Statistics of nothing yet, for embeddings of width `dim`."""
        return cls(mean=np.zeros(dim), scatter=np.zeros((dim, dim)), identity=dict(identity or {}))

    @classmethod
    def of(cls, embeddings: Any, identity: Mapping[str, Any] | None = None) -> GaussianStatistics:
        """Statistics of embeddings [n, D]."""
        values = as_rows(embeddings)
        stats = cls.empty(values.shape[1], identity)
        stats._take(values)
        return stats

    @property
    def dim(self) -> int:
        return len(self.mean)

    @property
    def covariance(self) -> np.ndarray:
        """[D, D], unbiased. Raises ValueError below two embeddings."""
        if self.num < 2:
            raise ValueError(
                f"a covariance needs at least 2 embeddings, there are {self.num}: give more or longer audio"
            )
        return self.scatter / (self.num - 1)

    def update(self, embeddings: Any) -> None:
        """Take in embeddings [n, D]. Raises ValueError for another width, NaN or inf."""
        values = as_rows(embeddings)
        if values.shape[1] != self.dim:
            raise ValueError(f"embeddings must be [n, {self.dim}], got {values.shape}")
        self._take(values)

    def _take(self, values: np.ndarray) -> None:
        if len(values):
            self._add(*moments(values))

    def merge(self, other: GaussianStatistics) -> None:
        """Take in all that `other` has seen. Raises MismatchError where another embedder made it."""
        check_comparable(self, other)
        if other.num:
            self._add(other.num, other.mean, other.scatter)

    def _add(self, num: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        # Chan et al. 1979: exact under any grouping up to rounding
        total, shift = self.num + num, mean - self.mean
        moved = np.outer(shift, shift)
        moved *= self.num * num / total
        moved += scatter
        moved += self.scatter
        self.scatter = moved
        self.mean = self.mean + shift * (num / total)
        self.num = total

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, with the identity in its header."""
        from safetensors.numpy import save_file

        header = {"format": FORMAT, "num": str(self.num), "identity": json.dumps(self.identity, sort_keys=True)}
        with atomic_path(path) as part:
            save_file({"mean": self.mean, "scatter": np.ascontiguousarray(self.scatter)}, part, metadata=header)

    @classmethod
    def load(cls, path: str | Path) -> GaussianStatistics:
        """Read what `save` wrote. Raises CheckpointError for anything else."""
        from safetensors import SafetensorError, safe_open

        if not Path(path).is_file():
            raise CheckpointError(f"no saved statistics at {path}")
        try:
            with safe_open(path, "numpy") as file:
                header = file.metadata() or {}
                if header.get("format") != FORMAT:
                    raise CheckpointError(f"{path} does not hold statistics of embeddings: save them with evaluate")
                return cls(
                    mean=file.get_tensor("mean"),
                    scatter=file.get_tensor("scatter"),
                    num=int(header["num"]),
                    identity=json.loads(header["identity"]),
                )
        except (SafetensorError, ValueError, KeyError, OSError) as error:
            raise CheckpointError(f"{path} is not a readable statistics file ({error})") from error


def check_comparable(a: GaussianStatistics, b: GaussianStatistics) -> None:
    """Raise MismatchError, naming what differs, unless one embedder made both."""
    for key in sorted({*a.identity, *b.identity}):
        if a.identity.get(key) != b.identity.get(key):
            raise MismatchError(
                f"statistics of different embedders cannot be compared: {key} is {a.identity.get(key)!r} and "
                f"{b.identity.get(key)!r}; make both with the same embedder"
            )
    if a.dim != b.dim:
        raise MismatchError(f"embeddings of width {a.dim} cannot be compared with embeddings of width {b.dim}")


def as_statistics(reference: Any, generated: Any) -> tuple[GaussianStatistics, GaussianStatistics]:
    """Both sides as statistics that can be compared; of embeddings [n, D] they are made.

    An array does not say which embedder made it: together with statistics that do, it is taken to be of the same.

    Raises:
        MismatchError: statistics of different embedders, or different widths.
        ValueError: arrays that are not embeddings.
    """
    sides = [reference, generated]
    for place, other in ((0, generated), (1, reference)):
        if not isinstance(sides[place], GaussianStatistics):
            identity = other.identity if isinstance(other, GaussianStatistics) else None
            sides[place] = GaussianStatistics.of(sides[place], identity)
    check_comparable(sides[0], sides[1])
    return sides[0], sides[1]


def frechet_distance(reference: Any, generated: Any) -> float:
    """The Fréchet distance, at least 0, symmetric; its unit is that of squared embeddings.

    Args:
        reference: `GaussianStatistics`, or embeddings [n, D].
        generated: the same of the other set.

    Raises:
        MismatchError: made by different embedders.
        ValueError: fewer than two embeddings on a side, or arrays that are not embeddings.
    """
    if not any(isinstance(side, GaussianStatistics) for side in (reference, generated)):
        few = [as_rows(reference), as_rows(generated)]
        if few[0].shape[1] == few[1].shape[1] and all(2 <= len(side) <= side.shape[1] for side in few):
            return factored_distance(*map(factored_embeddings, few))
        reference, generated = few
    a, b = as_statistics(reference, generated)
    if min(a.num, b.num) <= a.dim:
        return factored_distance(factored_statistics(a), factored_statistics(b))
    cov_a, cov_b = a.covariance, b.covariance
    distance = np.square(a.mean - b.mean).sum() + np.trace(cov_a) + np.trace(cov_b) - 2.0 * root_trace(cov_a, cov_b)
    return max(0.0, float(distance))
