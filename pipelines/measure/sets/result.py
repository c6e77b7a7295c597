"""What an evaluation gives, and its JSON.

Schema `latentune-evaluation-2`. Since 1 (which bore no name): `schema`, `version`, `settings`, `networks` and
`systems` are new; `metric`, `value`, `embedder`, `weights`, `reference`, `generated` and `warnings` are as they were
and speak of the first metric and the first system.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from .sets import SideSummary

SCHEMA = "latentune-evaluation-2"


@dataclass(kw_only=True)
class Figure:
    """One number of one system."""

    name: str  # the column's, such as fad_musicnn
    value: float | None  # None where it could not be measured, see `note`
    better: str  # lower or higher
    unit: str = ""
    low: float | None = None  # confidence interval, where it was measured
    high: float | None = None
    details: dict[str, Any] = field(default_factory=dict)  # further figures that belong to it
    note: str = ""  # why there is no value or no interval


@dataclass(kw_only=True)
class Delta:
    """One number of a system less that of the first system."""

    name: str
    value: float
    low: float | None = None  # confidence interval
    high: float | None = None
    p_value: float | None = None  # two-sided: how often the resampled difference has the other sign
    paired: bool = False  # resampled over files that both systems have by name; else each over its own
    note: str = ""  # why there is no interval


@dataclass(kw_only=True)
class SystemResult:
    """A row of the comparison."""

    name: str
    summary: SideSummary
    figures: list[Figure] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)  # against the first system; empty for that one

    def figure(self, name: str) -> Figure:
        """The figure of a column; raises KeyError for an unknown name."""
        for figure in self.figures:
            if figure.name == name:
                return figure
        raise KeyError(name)


@dataclass(kw_only=True)
class EvaluationResult:
    """The figures of all systems and all that one must know to read them."""

    metric: str  # first column, such as fad_musicnn; values of different metrics cannot be compared
    value: float  # of the first system
    embedder: dict[str, Any]  # identity of the embedder
    weights: str  # where its weights came from
    reference: SideSummary
    generated: SideSummary  # of the first system
    warnings: list[str] = field(default_factory=list)
    systems: list[SystemResult] = field(default_factory=list)
    networks: dict[str, Any] = field(default_factory=dict)  # identities of others: classifier (kl), clap (clap-score)
    settings: dict[str, Any] = field(default_factory=dict)  # the config
    schema: str = SCHEMA
    version: str = ""  # of latentune

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; numbers that are not finite become null."""
        return _finite(asdict(self))

    @property
    def columns(self) -> list[str]:
        """Names of all figures."""
        return [figure.name for figure in self.systems[0].figures] if self.systems else []


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
