"""How good generated audio is beside real audio, for one system or several: what `latentune evaluate` does."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.config import config_to_dict
from ..core.files import write_json
from ..core.outputs import prepare_output
from .measure.codecs.evaluate import ReconstructionResult, evaluate_systems, evaluate_tokenizer, silence
from .measure.embedders import Embedder
from .measure.sets.compare import Measurement, difference, measure, side_warnings, unpaired_warnings
from .measure.sets.config import STATISTICS_SUFFIX, EvaluateConfig, RayConfig
from .measure.sets.gather import build_engine, gather, load_statistics
from .measure.sets.metrics import Inputs, Metric, Role, metrics_named
from .measure.sets.networks import Network, load_networks, load_text_encoder
from .measure.sets.page import write_page
from .measure.sets.result import Delta, EvaluationResult, Figure, SystemResult
from .measure.sets.sets import NOTHING, EmbeddedSet, SideSummary
from .measure.sets.sources import Source, open_source
from .measure.sets.tables import write_csv
from .measure.sets.texts import find_texts

if TYPE_CHECKING:
    from .measure.embedders.clap_text import ClapTextEncoder

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # (name of the side, files done, files in all)

__all__ = [
    "Delta",
    "EvaluateConfig",
    "EvaluationResult",
    "Figure",
    "RayConfig",
    "ReconstructionResult",
    "SideSummary",
    "SystemResult",
    "evaluate",
    "evaluate_systems",
    "evaluate_tokenizer",
    "silence",
]


@dataclass(kw_only=True)
class _Side:
    """One set: where it comes from and what each network made of it."""

    name: str
    source: Source | None  # None: saved statistics
    summary: SideSummary
    sets: dict[Role, EmbeddedSet]


def evaluate(
    config: EvaluateConfig,
    *,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> EvaluationResult:
    """Measure systems' audio against real audio.

    Args:
        embedder: one loaded before, in place of the config's.
        progress: called with (name of the side, files done, files in all); the reference is called `reference`.

    Raises:
        FileNotFoundError, ValueError: no such source, no audio in it, or fewer than two windows on a side.
        AudioError: not one file of a source could be measured. Those that could not are listed in the result.
        ConfigError: an unknown metric or embedder, or an engine that is not installed.
        MismatchError: saved statistics of another embedder.
        CheckpointError: an embedder's checkpoint or a statistics file that cannot be used.
        OSError: an output that cannot be written; found out before anything is measured.
    """
    metrics = metrics_named(config.metrics)
    for target in (config.output, config.save_statistics, config.csv, config.html):
        if target is not None:
            prepare_output(Path(target).expanduser().absolute().parent)
    if config.cache_dir is not None:
        prepare_output(config.cache_dir)
    build_engine(config)  # one that is not installed is known before anything is loaded
    networks = load_networks(config, metrics, embedder)
    text_encoder = load_text_encoder(config, metrics, networks)
    looked_at = {"embedder", *(metric.role for metric in metrics if metric.reference)}
    of_reference = {role: network for role, network in networks.items() if role in looked_at}
    reference = _side("reference", config.reference, config.reference_where, config, of_reference, progress)
    if config.save_statistics is not None:
        reference.sets["embedder"].statistics.save(Path(config.save_statistics).expanduser())
    systems = [
        _side(name, source, config.generated_where, config, networks, progress)
        for name, source in zip(config.system_names(), config.sources, strict=True)
    ]
    result = _result(config, metrics, networks, text_encoder, reference, systems)
    if config.output is not None:
        write_json(Path(config.output).expanduser(), result.to_dict())
    if config.csv is not None:
        write_csv(Path(config.csv).expanduser(), result)
    if config.html is not None:
        sources = {side.name: side.source for side in (reference, *systems) if side.source is not None}
        write_page(Path(config.html).expanduser(), result, sources, config.num_players, config.player_s)
    return result


def _side(
    name: str,
    source: str,
    where: dict[str, Any],
    config: EvaluateConfig,
    networks: dict[Role, Network],
    progress: Progress | None,
) -> _Side:
    """Open a source and embed it with every network."""
    if source.endswith(STATISTICS_SUFFIX):
        saved, summary = load_statistics(source, networks["embedder"].embedder)
        return _Side(name=name, source=None, summary=summary, sets={"embedder": saved})
    opened = open_source(source, where or None, networks["embedder"].embedder.device)
    side = _Side(name=name, source=opened, summary=SideSummary(source=source), sets={})
    done: dict[int, EmbeddedSet] = {}  # by network: one may play several roles
    for role, network in networks.items():
        if id(network) not in done:
            report = None if progress is None else partial(progress, name)
            found, summary = gather(opened, source, config, network.embedder, choice=network.choice, report=report)
            done[id(network)] = found
            if role == "embedder":
                side.summary = summary
        side.sets[role] = done[id(network)]
    return side


def _result(
    config: EvaluateConfig,
    metrics: list[Metric],
    networks: dict[Role, Network],
    text_encoder: ClapTextEncoder | None,
    reference: _Side,
    systems: list[_Side],
) -> EvaluationResult:
    of_sets = any(metric.reference and not metric.paired for metric in metrics)  # figures that few windows bias
    dim = networks["embedder"].embedder.dim if of_sets else 0
    warnings = side_warnings("reference", reference.summary, dim)
    rows: list[SystemResult] = []
    first: list[Measurement] = []
    for number, side in enumerate(systems):
        name = side.name if len(systems) > 1 else "generated"
        warnings += side_warnings(name, side.summary, dim)
        texts = {} if side.source is None else find_texts(side.source.items, config.text_column)
        row, found = SystemResult(name=side.name, summary=side.summary), []
        for metric in metrics:
            network = networks[metric.role].embedder
            ends = [each.sets.get(metric.role, NOTHING) for each in (reference, side)]
            inputs = Inputs(
                reference=ends[0],
                system=ends[1],
                network=network,
                texts=texts,
                text_encoder=text_encoder,
                seed=config.seed,
            )
            found += measure(metric, inputs, config)
            if metric.paired:
                warnings += unpaired_warnings(metric.name, name, ends[1], ends[0])
        row.figures = [each.figure for each in found]
        if number:
            pairs = (difference(mine, other, config) for mine, other in zip(first, found, strict=True))
            row.deltas = [delta for delta in pairs if delta is not None]
        else:
            first = found
        warnings += [f"{name}: {each.name}: {each.note}" for each in row.figures if each.value is None]
        rows.append(row)
    figure, network = rows[0].figures[0], networks["embedder"].embedder
    if len(rows) == len(first) == 1 and figure.value is None:
        raise ValueError(figure.note)
    return EvaluationResult(
        metric=figure.name,
        value=math.nan if figure.value is None else figure.value,
        embedder=network.identity(),
        weights=network.source,
        reference=reference.summary,
        generated=rows[0].summary,
        warnings=list(dict.fromkeys(warnings)),
        systems=rows,
        networks={role: other.embedder.identity() for role, other in networks.items() if role != "embedder"},
        settings=config_to_dict(config),
        version=__version__,
    )
