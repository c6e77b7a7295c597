"""Measures of one system's set and the reference's: the functions of the table in metrics.py.

A function gives one result per column: a `SetFigure`, or `FileFigures` where the figure is a mean over files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..embedders import Embedder
from ..metrics import (
    FileKernelDistance,
    FileNeighbours,
    frechet_distance,
    frechet_infinity,
    frechet_per_file,
    kernel_distance,
    marginal_kl,
    paired_kl,
    precision_recall_density_coverage,
)
from ..metrics.adherence import AdherenceResult, adherence
from ..metrics.factored import FileFrechetDistance
from ..metrics.kernel import Kernel, reference_bandwidth
from ..metrics.sets import row_times
from ..results import SetFigure, pair_names
from ..results.samples import OfFiles
from .sets import EmbeddedSet

if TYPE_CHECKING:
    from ....generators.conditioning.frozen.clap_text import ClapTextEncoder

POSTERIOR_ROWS = 4096
RESAMPLED_SIZES = 5  # of the line through distances, for one resample: the figure itself has five times as many
NEIGHBOUR_SHARES = ("precision", "recall", "density", "coverage")
FORMULAS: dict[Kernel, str] = {"gaussian": "exp(-|x - y|^2 / (2 bandwidth^2))", "polynomial": "(x . y / D + 1)^3"}
BANDWIDTH_RULE = "median distance of the reference's embeddings"


@dataclass(kw_only=True)
class Inputs:
    """One system and the reference, as the metric's network sees them."""

    reference: EmbeddedSet
    system: EmbeddedSet
    network: Embedder
    texts: Mapping[int, str] = field(default_factory=dict)  # the system's prompts by the files' indices
    text_encoder: ClapTextEncoder | None = None
    seed: int = 0

    def pairs(self) -> list[tuple[str, np.ndarray, np.ndarray]]:
        """Files that both have by name, as (name, system's and reference's embeddings); ValueError if there is none."""
        places = pair_names(self.system.names, self.reference.names).pairs
        if not places:
            raise ValueError("no file of the system has the name of one, and of one alone, of the reference")
        made, real = self.system.files(), self.reference.files()
        return [(self.system.names[one], made[one], real[other]) for one, other in places]


@dataclass(kw_only=True)
class FileFigures:
    """A figure that is the mean of one value per file; rows of one file are several."""

    values: Sequence[tuple[str, float]]  # name and value
    details: dict[str, Any]


Measured = SetFigure | FileFigures


def fad(inputs: Inputs) -> list[Measured]:
    """The distance to the fixed reference."""
    system, statistics = inputs.system, inputs.reference.statistics
    embeddings = system.embeddings
    of_files = None
    if embeddings is not None:
        of_files = _later(lambda: FileFrechetDistance(statistics, embeddings, np.diff(system.offsets)))
    return [SetFigure(value=frechet_distance(statistics, system.statistics), of_files=of_files)]


def fad_infinity(inputs: Inputs) -> list[Measured]:
    """Resamples take few sizes, which would cost as many distances each; what that changes is subtracted again."""
    system, statistics, num_windows = inputs.system, inputs.reference.statistics, np.diff(inputs.system.offsets)
    found = frechet_infinity(statistics, system.embeddings, seed=inputs.seed)

    def extrapolated(times: np.ndarray | None) -> float:
        embeddings, seed = system.embeddings, inputs.seed
        return frechet_infinity(statistics, embeddings, num_sizes=RESAMPLED_SIZES, times=times, seed=seed).value

    def build() -> OfFiles:
        changed = extrapolated(None) - found.value
        return lambda places: extrapolated(row_times(places, num_windows)) - changed

    sizes, distances = zip(*found.points, strict=True)
    details = {"slope": found.slope, "r_squared": found.r_squared, "sample_sizes": sizes, "distances": distances}
    return [SetFigure(value=found.value, of_files=_later(build), details=details)]


def fad_per_file(inputs: Inputs) -> list[Measured]:
    """The distance of each file alone."""
    return [_of_files(inputs.system.names, frechet_per_file(inputs.reference.statistics, inputs.system.files()))]


def kernel(inputs: Inputs, *, kind: Kernel, scale: float) -> list[Measured]:
    """Measures a kernel distance.

    Args:
        inputs: the sets.
        kind: of the kernel.
        scale: by which the distance is multiplied.

    Returns:
        The one figure.
    """
    reference, width = inputs.reference.embeddings, None
    details: dict[str, Any] = {"kernel": FORMULAS[kind]}
    if kind == "gaussian":
        width = reference_bandwidth(reference)
        details |= {"bandwidth": width, "bandwidth_rule": BANDWIDTH_RULE}
    value = kernel_distance(reference, inputs.system.embeddings, kernel=kind, bandwidth=width)

    def build() -> OfFiles:
        of_files = FileKernelDistance(reference, inputs.system.files(), kernel=kind)
        return lambda places: scale * of_files(places)

    return [SetFigure(value=scale * value, of_files=_later(build), details=details)]


def neighbours(inputs: Inputs) -> list[Measured]:
    """The four shares by nearest neighbours."""
    reference, system = inputs.reference.embeddings, inputs.system
    found = precision_recall_density_coverage(reference, system.embeddings)
    build = cache(lambda: FileNeighbours(reference, system.files()))

    def of_files(share: str) -> OfFiles:
        return lambda places: float(getattr(build(), share)(places))

    details = {"num_neighbours": found.num_neighbours}
    return [
        SetFigure(value=getattr(found, share), of_files=of_files(share), subsets=True, details=dict(details))
        for share in NEIGHBOUR_SHARES
    ]


def kl(inputs: Inputs) -> list[Measured]:
    """The embedders' classifiers are taggers, whose classes do not exclude each other."""
    names, *sides = zip(*inputs.pairs(), strict=True)
    made, real = ([_posteriors(inputs.network, file) for file in side] for side in sides)
    return [_of_files(names, paired_kl(real, made, multilabel=True).tolist())]


def kl_marginal(inputs: Inputs) -> list[Measured]:
    """The divergence of mean posteriors, which has no interval."""
    sides = (inputs.reference.embeddings, inputs.system.embeddings)
    real, made = (_posteriors(inputs.network, side) for side in sides if side is not None)
    return [SetFigure(value=marginal_kl(real, made, multilabel=True))]


def similarity(inputs: Inputs) -> list[Measured]:
    """The cosine of each file's windows with the mean of the reference's file."""
    names, made, real = zip(*inputs.pairs(), strict=True)
    return [_adherence(names, adherence(made, [each.mean(0, dtype=np.float64) for each in real]))]


def clap_score(inputs: Inputs) -> list[Measured]:
    """The cosine of each file's windows with its prompt."""
    assert inputs.text_encoder is not None
    system = inputs.system
    rows = zip(system.names, system.indices, system.files(), strict=True)
    chosen = [(name, file, inputs.texts[index]) for name, index, file in rows if index in inputs.texts]
    if not chosen:
        raise ValueError("no file that could be measured has a prompt")
    names, files, prompts = zip(*chosen, strict=True)
    distinct = sorted(set(prompts))
    targets = dict(zip(distinct, inputs.text_encoder.embed(distinct).numpy(), strict=True))
    measured = _adherence(names, adherence(files, [targets[prompt] for prompt in prompts], keys=prompts))
    measured.details |= {"text": inputs.text_encoder.identity(), "without_prompt": len(system.names) - len(names)}
    return [measured]


def _later(build: Callable[[], OfFiles]) -> OfFiles:
    """A figure of files whose preparation costs: it is made when the first choice of files is measured."""
    prepared = cache(build)
    return lambda places: prepared()(places)


def _posteriors(network: Embedder, embeddings: np.ndarray) -> np.ndarray:
    import torch

    blocks = [embeddings[begin : begin + POSTERIOR_ROWS] for begin in range(0, len(embeddings), POSTERIOR_ROWS)]
    return np.concatenate([network.posteriors_of(torch.from_numpy(np.array(block))).numpy() for block in blocks])


def _adherence(names: Sequence[str], found: AdherenceResult) -> FileFigures:
    kept = ("std", "negatives_mean", "margin", "win_rate", "num_pairs", "num_negatives")
    details = {key: value for key, value in asdict(found).items() if key in kept}
    return FileFigures(values=list(zip(names, found.scores, strict=True)), details=details)


def _of_files(names: Sequence[str], values: Sequence[float]) -> FileFigures:
    details = {"median": float(np.median(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
    return FileFigures(values=list(zip(names, values, strict=True)), details=details)
