"""The table of metrics: what each is called, needs and gives.

A metric compares one system's set with the reference. Its figures carry the network's name, since figures of different
networks cannot be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np

from ....core.config import nearest_hint
from ....core.errors import ConfigError
from ..metrics.kernel import KAD_SCALE
from ..results import FigureFacts
from ..results.intervals import Bounds
from . import measures
from .measures import NEIGHBOUR_SHARES, Inputs, Measured

Role = Literal["embedder", "classifier", "clap"]  # which network's embeddings a metric compares
AT_LEAST_0: Bounds = (0.0, np.inf)
SHARE: Bounds = (0.0, 1.0)
COSINE: Bounds = (-1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the table."""

    name: str  # as `metrics` of the config names it
    figures: Mapping[str, FigureFacts]  # that it gives; the name of the network is added to theirs
    measure: Callable[[Inputs], Sequence[Measured]]  # one per figure
    role: Role = "embedder"
    statistics: bool = False  # saved statistics are enough
    reference: bool = True  # looks at the reference's audio
    texts: bool = False  # needs prompts
    paired: bool = False  # compares files of one name


def metrics_named(names: Sequence[str]) -> list[Metric]:
    """The metrics of these names; raises ConfigError for one that is unknown."""
    for name in names:
        if name not in METRICS:
            raise ConfigError(f"no metric {name!r}: {nearest_hint(name, METRICS)}")
    return [METRICS[name] for name in dict.fromkeys(names)]


def _metric(name: str, measure: Callable[[Inputs], Sequence[Measured]], title: str, **options: Any) -> Metric:
    """A metric of one figure, called as itself; further options are those of `FigureFacts` and `Metric`."""
    facts = {key: options.pop(key) for key in ("unit", "bounds") if key in options}
    figure = options.pop("figure", name.replace("-", "_"))
    figures = {figure: FigureFacts(title=title, better=options.pop("better", "lower"), **facts)}
    return Metric(name=name, measure=measure, figures=figures, **options)


TABLE = (
    _metric(
        "fad",
        measures.fad,
        "Fréchet distance of the embeddings taken as Gaussians",
        bounds=AT_LEAST_0,
        statistics=True,
    ),
    _metric("fad-inf", measures.fad_infinity, "the same, extrapolated to infinitely many windows"),
    _metric("fad-per-file", measures.fad_per_file, "the same of each file alone, mean over files", bounds=AT_LEAST_0),
    _metric(
        "kad",
        partial(measures.kernel, kind="gaussian", scale=KAD_SCALE),
        "kernel audio distance: 100 times the squared MMD of a Gaussian kernel",
    ),
    _metric("kid", partial(measures.kernel, kind="polynomial", scale=1.0), "squared MMD of a polynomial kernel"),
    Metric(
        name="prdc",
        measure=measures.neighbours,
        figures={
            share: FigureFacts(
                title=f"{share} by 5 nearest neighbours",
                better="higher",
                bounds=AT_LEAST_0 if share == "density" else SHARE,
            )
            for share in NEIGHBOUR_SHARES
        },
    ),
    _metric(
        "kl",
        measures.kl,
        "divergence of a tagger's posteriors, file by file of one name",
        unit="nats",
        bounds=AT_LEAST_0,
        role="classifier",
        paired=True,
    ),
    _metric(
        "kl-marginal",
        measures.kl_marginal,
        "divergence of a tagger's mean posteriors",
        unit="nats",
        bounds=AT_LEAST_0,
        role="classifier",
    ),
    _metric(
        "audio-similarity",
        measures.similarity,
        "cosine of each file with the reference's file of its name",
        figure="similarity",
        better="higher",
        bounds=COSINE,
        paired=True,
    ),
    _metric(
        "clap-score",
        measures.clap_score,
        "cosine of audio and prompt in CLAP's space",
        better="higher",
        bounds=COSINE,
        role="clap",
        reference=False,
        texts=True,
    ),
)
METRICS = {metric.name: metric for metric in TABLE}
