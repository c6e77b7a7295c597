"""The table of metrics: what each is called, needs and gives.

A metric compares one system's set with the reference. Its columns carry the network's name, since figures of different
networks cannot be compared. Shape letters: n embeddings, D their width, F files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ....core.config import nearest_hint
from ....core.errors import ConfigError
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
from ..metrics.kernel import KAD_SCALE, Kernel, reference_bandwidth
from ..metrics.sets import row_times
from ..results.intervals import UNBOUNDED, Bounds
from ..results.pairing import pair_names
from .sets import EmbeddedSet

if TYPE_CHECKING:
    from ..embedders.clap_text import ClapTextEncoder

Role = Literal["embedder", "classifier", "clap"]  # which network's embeddings a metric compares
OfFiles = Callable[[Sequence[int]], float]  # the figure of the system's files at these places
FileFigures = Sequence[tuple[str, float]]  # name and figure of each file; rows of one file are several
POSTERIOR_ROWS = 4096
RESAMPLED_SIZES = 5  # of the line through distances, for one resample: the figure itself has five times as many
NEIGHBOUR_SHARES = ("precision", "recall", "density", "coverage")
AT_LEAST_0: Bounds = (0.0, np.inf)
SHARE: Bounds = (0.0, 1.0)
COSINE: Bounds = (-1.0, 1.0)
FORMULAS: dict[Kernel, str] = {"gaussian": "exp(-|x - y|^2 / (2 bandwidth^2))", "polynomial": "(x . y / D + 1)^3"}
BANDWIDTH_RULE = "median distance of the reference's embeddings"


@dataclass(kw_only=True)
class Inputs:
    """One system beside the reference, as the metric's network sees them."""

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
class Measured:
    """One column's figure of one system."""

    value: float
    details: dict[str, Any] = field(default_factory=dict)
    per_file: FileFigures = ()  # where `value` is their mean


@dataclass(frozen=True, kw_only=True)
class Column:
    """A figure that a metric gives."""

    name: str  # with {network} for the network's name
    better: Literal["lower", "higher"]
    unit: str = ""
    bounds: Bounds = UNBOUNDED


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A row of the table."""

    name: str  # as `metrics` of the config names it
    title: str
    columns: tuple[Column, ...]
    measure: Callable[[Inputs], Sequence[Measured]]  # one a column
    resampler: Callable[[Inputs], Sequence[OfFiles]] | None = None  # one a column, for intervals over files
    subsets: bool = False  # of choices that hold no file twice, since that would make it another figure
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


def _fad(inputs: Inputs) -> list[Measured]:
    return [Measured(value=frechet_distance(inputs.reference.statistics, inputs.system.statistics))]


def _fad_resampler(inputs: Inputs) -> list[OfFiles]:
    """The distance to the fixed reference."""
    system = inputs.system
    assert system.embeddings is not None
    return [FileFrechetDistance(inputs.reference.statistics, system.embeddings, np.diff(system.offsets))]


def _fad_infinity(inputs: Inputs) -> list[Measured]:
    found = frechet_infinity(inputs.reference.statistics, inputs.system.embeddings, seed=inputs.seed)
    sizes, distances = zip(*found.points, strict=True)
    details = {"slope": found.slope, "r_squared": found.r_squared}
    return [Measured(value=found.value, details=details | {"sample_sizes": sizes, "distances": distances})]


def _fad_infinity_resampler(inputs: Inputs) -> list[OfFiles]:
    """By few sizes, which would cost as many distances each; what that changes in the figure is taken off again."""
    system, num_windows = inputs.system, np.diff(inputs.system.offsets)

    def extrapolated(times: np.ndarray | None, num_sizes: int) -> float:
        reference = inputs.reference.statistics
        found = frechet_infinity(reference, system.embeddings, num_sizes=num_sizes, times=times, seed=inputs.seed)
        return found.value

    changed = extrapolated(None, RESAMPLED_SIZES) - _fad_infinity(inputs)[0].value
    return [lambda places: extrapolated(row_times(places, num_windows), RESAMPLED_SIZES) - changed]


def _fad_per_file(inputs: Inputs) -> list[Measured]:
    return [_mean_of(inputs.system.names, frechet_per_file(inputs.reference.statistics, inputs.system.files()))]


def _kernel(name: str, title: str, kernel: Kernel, scale: float) -> Metric:
    """A kernel distance."""

    def measure(inputs: Inputs) -> list[Measured]:
        reference, width = inputs.reference.embeddings, None
        details: dict[str, Any] = {"kernel": FORMULAS[kernel]}
        if kernel == "gaussian":
            width = reference_bandwidth(reference)
            details |= {"bandwidth": width, "bandwidth_rule": BANDWIDTH_RULE}
        value = kernel_distance(reference, inputs.system.embeddings, kernel=kernel, bandwidth=width)
        return [Measured(value=scale * value, details=details)]

    def resampler(inputs: Inputs) -> list[OfFiles]:
        of_files = FileKernelDistance(inputs.reference.embeddings, inputs.system.files(), kernel=kernel)
        return [lambda places: scale * of_files(places)]

    return _metric(name, title, measure, resampler=resampler)


def _neighbours(inputs: Inputs) -> list[Measured]:
    found = precision_recall_density_coverage(inputs.reference.embeddings, inputs.system.embeddings)
    shares = (getattr(found, share) for share in NEIGHBOUR_SHARES)
    return [Measured(value=share, details={"num_neighbours": found.num_neighbours}) for share in shares]


def _neighbours_resampler(inputs: Inputs) -> list[OfFiles]:
    of_files = FileNeighbours(inputs.reference.embeddings, inputs.system.files())
    return [getattr(of_files, share) for share in NEIGHBOUR_SHARES]


def _posteriors(network: Embedder, embeddings: np.ndarray) -> np.ndarray:
    import torch

    blocks = [embeddings[begin : begin + POSTERIOR_ROWS] for begin in range(0, len(embeddings), POSTERIOR_ROWS)]
    return np.concatenate([network.posteriors_of(torch.from_numpy(np.array(block))).numpy() for block in blocks])


def _kl(inputs: Inputs) -> list[Measured]:
    """The embedders' classifiers are taggers, whose classes do not exclude each other."""
    names, *sides = zip(*inputs.pairs(), strict=True)
    made, real = ([_posteriors(inputs.network, file) for file in side] for side in sides)
    return [_mean_of(names, paired_kl(real, made, multilabel=True).tolist())]


def _kl_marginal(inputs: Inputs) -> list[Measured]:
    sides = (inputs.reference.embeddings, inputs.system.embeddings)
    real, made = (_posteriors(inputs.network, side) for side in sides if side is not None)
    return [Measured(value=marginal_kl(real, made, multilabel=True))]


def _similarity(inputs: Inputs) -> list[Measured]:
    names, made, real = zip(*inputs.pairs(), strict=True)
    found = adherence(made, [each.mean(0, dtype=np.float64) for each in real])
    return [_adherence(names, found)]


def _clap_score(inputs: Inputs) -> list[Measured]:
    assert inputs.text_encoder is not None
    system = inputs.system
    rows = zip(system.names, system.indices, system.files(), strict=True)
    chosen = [(name, file, inputs.texts[index]) for name, index, file in rows if index in inputs.texts]
    if not chosen:
        raise ValueError("no file that could be measured has a prompt")
    names, files, prompts = zip(*chosen, strict=True)
    distinct = sorted(set(prompts))
    targets = dict(zip(distinct, inputs.text_encoder.embed(distinct).numpy(), strict=True))
    found = adherence(files, [targets[prompt] for prompt in prompts], keys=prompts)
    measured = _adherence(names, found)
    measured.details |= {"text": inputs.text_encoder.identity(), "without_prompt": len(system.names) - len(names)}
    return [measured]


def _adherence(names: Sequence[str], found: AdherenceResult) -> Measured:
    kept = ("std", "negatives_mean", "margin", "win_rate", "num_pairs", "num_negatives")
    details = {key: value for key, value in asdict(found).items() if key in kept}
    return Measured(value=found.mean, details=details, per_file=list(zip(names, found.scores, strict=True)))


def _mean_of(names: Sequence[str], values: Sequence[float]) -> Measured:
    details = {"median": float(np.median(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
    return Measured(value=float(np.mean(values)), details=details, per_file=list(zip(names, values, strict=True)))


def _metric(
    name: str,
    title: str,
    measure: Callable[[Inputs], Sequence[Measured]],
    *,
    shown: Sequence[str] = (),
    better: Literal["lower", "higher"] = "lower",
    unit: str = "",
    bounds: Sequence[Bounds] = (UNBOUNDED,),
    **options: Any,
) -> Metric:
    """A row whose columns are called as `shown`, by default as the metric; `bounds` has those of each."""
    names = shown or [name.replace("-", "_")]
    columns = tuple(
        Column(name=f"{each}_{{network}}", better=better, unit=unit, bounds=ends)
        for each, ends in zip(names, bounds, strict=True)
    )
    return Metric(name=name, title=title, columns=columns, measure=measure, **options)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric(
            "fad",
            "Fréchet distance of the embeddings taken as Gaussians",
            _fad,
            bounds=[AT_LEAST_0],
            resampler=_fad_resampler,
            statistics=True,
        ),
        _metric(
            "fad-inf",
            "the same, extrapolated to endlessly many windows",
            _fad_infinity,
            resampler=_fad_infinity_resampler,
        ),
        _metric("fad-per-file", "the same of each file alone, mean over files", _fad_per_file, bounds=[AT_LEAST_0]),
        _kernel("kad", "kernel audio distance: 100 times the squared MMD of a Gaussian kernel", "gaussian", KAD_SCALE),
        _kernel("kid", "squared MMD of a polynomial kernel", "polynomial", 1.0),
        _metric(
            "prdc",
            "precision, recall, density and coverage by 5 nearest neighbours",
            _neighbours,
            shown=NEIGHBOUR_SHARES,
            bounds=[SHARE, SHARE, AT_LEAST_0, SHARE],
            better="higher",
            resampler=_neighbours_resampler,
            subsets=True,
        ),
        _metric(
            "kl",
            "divergence of a tagger's posteriors, file by file of one name",
            _kl,
            unit="nats",
            bounds=[AT_LEAST_0],
            role="classifier",
            paired=True,
        ),
        _metric(
            "kl-marginal",
            "divergence of a tagger's mean posteriors",
            _kl_marginal,
            unit="nats",
            bounds=[AT_LEAST_0],
            role="classifier",
        ),
        _metric(
            "audio-similarity",
            "cosine of each file with the reference's file of its name",
            _similarity,
            shown=["similarity"],
            better="higher",
            bounds=[COSINE],
            paired=True,
        ),
        _metric(
            "clap-score",
            "cosine of audio and prompt in CLAP's space",
            _clap_score,
            better="higher",
            bounds=[COSINE],
            role="clap",
            reference=False,
            texts=True,
        ),
    )
}
