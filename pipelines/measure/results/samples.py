"""A figure of one system as a function of its files: what intervals and differences are resampled from.

Shape letters: F files, S repeated draws of a file, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ....core.config import option
from ....core.errors import ConfigError
from .intervals import MIN_RESAMPLES, UNBOUNDED, Array, Bounds, centred_interval, p_value, percentiles, resample
from .pairing import pair_names

MIN_FILES = 5  # with fewer, resampling says little

OfFiles = Callable[[Sequence[int]], float]  # a figure of the files at these places, each listed as often as it counts


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How intervals and differences are computed."""

    num_resamples: int = option(1000, "How often the files are drawn for the interval of a mean; 0 computes none.")
    num_set_resamples: int = option(200, "How often for a figure of a whole set, such as a Fréchet distance.")
    confidence: float = option(0.95, "Share of resamples inside an interval.")
    centre: bool = option(False, "Centre the intervals of means about the mean; those of sets always are.")
    min_files: int = option(2, "With fewer files there is no interval.")
    min_files_p: int = option(MIN_FILES, "With fewer files there is no p-value.")
    seed: int = option(0, "Seed of the draws.")

    def __post_init__(self) -> None:
        for name in ("num_resamples", "num_set_resamples"):
            if 0 < getattr(self, name) < MIN_RESAMPLES or getattr(self, name) < 0:
                raise ConfigError(f"{name} must be 0 or at least {MIN_RESAMPLES}, got {getattr(self, name)}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1, got {self.confidence}")


@dataclass(kw_only=True)
class Estimate:
    """A figure of one system with its interval; None where there is no value or no interval."""

    value: float | None
    low: float | None = None
    high: float | None = None
    num_values: int = 0  # of files that have a value, repeated draws counted
    num_missing: int = 0  # of those that have none
    note: str = ""  # why there is no value or no interval
    details: dict[str, Any] = field(default_factory=dict)  # further numbers that belong to the figure


@dataclass(kw_only=True)
class Difference:
    """A figure of one system minus that of another."""

    value: float
    low: float | None = None
    high: float | None = None
    p_value: float | None = None  # two-sided: how often the resampled difference has the other sign
    paired: bool = False  # resampled over files that both systems have by name; otherwise each over its own
    num_files: int = 0  # of the first system that were compared
    note: str = ""  # why there is no interval


@dataclass(kw_only=True)
class Sample:
    """A figure that can be resampled over files."""

    names: Sequence[str]  # of the files, one for each place
    value: float  # of all files
    of_files: Callable[..., Any]  # as `OfFiles`, or where `vectorized` of places [R, F] and a numpy generator to [R]
    vectorized: bool = False
    of_set: bool = False  # a figure of the set, which costs more than a mean and whose interval is centred
    subsets: bool = False  # a choice must hold no file twice, which would make it another figure
    bounds: Bounds = UNBOUNDED
    _done: dict[bytes, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.of_set:  # of all files the value itself, which `of_files` would round differently
            self._done[np.arange(len(self.names), dtype=np.int32).tobytes()] = self.value

    def at(self, places: Array, rng: np.random.Generator) -> Array:
        """The figure of each row of places [R, F]; that of a set is kept, since differences draw the same files."""
        if self.vectorized:
            return np.asarray(self.of_files(places, rng))
        return np.array([self._one(row) for row in places])

    def _one(self, places: Array) -> float:
        places = np.sort(places)
        key = places.astype(np.int32).tobytes()
        if key not in self._done:
            self._done[key] = float(self.of_files(places))
        return self._done[key]

    def draw(self, resampling: Resampling, seed: int) -> Array:
        """The figure of resamples of the files, [R]."""
        return draw(self.at, len(self.names), self, resampling, seed)


def draw(
    statistic: Callable[[Array, np.random.Generator], Array],
    num_files: int,
    sample: Sample,
    resampling: Resampling,
    seed: int,
) -> Array:
    """Computes a statistic of drawn places in the way a sample asks for: sets fewer times, and some without repeats.

    Args:
        statistic: of places [R, F] and the generator that drew them, to [R].
        num_files: F.
        sample: whose kind decides how the files are drawn.
        resampling: how often they are drawn.
        seed: of the draws.

    Returns:
        The statistic of each resample, [R].

    Raises:
        ValueError: a choice of files has no finite value.
    """
    num_resamples = resampling.num_set_resamples if sample.of_set else resampling.num_resamples

    def checked(places: Array, rng: np.random.Generator) -> Array:
        found = statistic(places, rng)
        if not np.isfinite(found).all():
            raise ValueError("some choices of files have no finite value: leave out the files that have none")
        return found

    return resample(checked, num_files, num_resamples, subsets=sample.subsets, seed=seed)


def interval(sample: Sample, resampling: Resampling) -> tuple[float, float]:
    """The interval of a sample's figure. Raises ValueError where a choice of files has no value."""
    found = sample.draw(resampling, resampling.seed)
    if sample.of_set or resampling.centre:
        return centred_interval(sample.value, found, resampling.confidence, sample.bounds)
    return percentiles(found, resampling.confidence)


def difference(first: Sample, other: Sample, resampling: Resampling) -> Difference:
    """Computes `other` minus `first`, with its interval and p-value.

    The same files are drawn of both where every file of each has one counterpart of its name; otherwise each system's
    files are drawn independently.

    Args:
        first: the figure of the first system.
        other: the figure of the other system.
        resampling: how often the files are drawn.

    Returns:
        The difference.

    Raises:
        ValueError: a choice of files has no value.
    """
    pairs = pair_names(first.names, other.names).pairs
    paired = len(pairs) == len({place for _, place in pairs}) == len(first.names) == len(other.names)
    value = other.value - first.value
    if paired:
        partners = np.array([place for _, place in pairs])

        def statistic(places: Array, rng: np.random.Generator) -> Array:
            return other.at(partners[places], rng) - first.at(places, rng)

        found = draw(statistic, len(pairs), first, resampling, resampling.seed)
    else:
        found = other.draw(resampling, resampling.seed + 1) - first.draw(resampling, resampling.seed)
    result = Difference(value=value, paired=paired, num_files=len(first.names))
    centre = first.of_set or resampling.centre or not paired
    if centre:
        bounds = first.bounds[0] - first.bounds[1], first.bounds[1] - first.bounds[0]
        result.low, result.high = centred_interval(value, found, resampling.confidence, bounds)
        found = found - found.mean() + value
    else:
        result.low, result.high = percentiles(found, resampling.confidence)
    if min(len(first.names), len(other.names)) >= resampling.min_files_p:
        result.p_value = p_value(found)
    return result
