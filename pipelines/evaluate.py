"""How good generated audio is compared with real audio, for one system or several: what `latentune evaluate` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..core.config import config_to_dict
from ..core.extras import check_report_packages
from ..core.files import json_text, write_json, write_text
from ..core.outputs import prepare_output, prepare_output_file, rescued
from ..core.processes import Place
from .engines import RayConfig, build_engine
from .measure.embedders import Embedder
from .measure.results import MIN_FILES, Resampling, ResultsTable
from .measure.sets.compare import add_metric, side_warnings, unpaired_warnings
from .measure.sets.config import STATISTICS_SUFFIX, EvaluateConfig
from .measure.sets.gather import Gathering, gather, load_statistics
from .measure.sets.measures import Inputs
from .measure.sets.metrics import Metric, Role, metrics_named
from .measure.sets.networks import Network, load_networks, load_text_encoder
from .measure.sets.page import evaluation_page
from .measure.sets.sets import NOTHING, EmbeddedSet, SideSummary
from .measure.sets.share import check_shareable
from .measure.sets.sources import Source, open_source
from .measure.sets.texts import find_texts
from .measure.sets.views import evaluation_csv

if TYPE_CHECKING:
    from ..generators.conditioning.frozen.clap_text import ClapTextEncoder

logger = logging.getLogger(__name__)

SCHEMA = "latentune-evaluation-2"
Progress = Callable[[str, int, int], None]  # (name of the side, files done, files in all)

__all__ = [
    "EvaluateConfig",
    "RayConfig",
    "ResultsTable",
    "SideSummary",
    "embed_share",
    "evaluate",
]


@dataclass(kw_only=True)
class _Side:
    """One set: where it comes from, and its embeddings by each network."""

    name: str
    source: Source | None  # None: saved statistics
    summary: SideSummary
    sets: dict[Role, EmbeddedSet]


def evaluate(
    config: EvaluateConfig,
    *,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
) -> ResultsTable:
    """Measures systems' audio against real audio.

    Processes that torchrun or srun started together share the embedding through the cache. All return the same; the
    first one writes the outputs.

    Args:
        config: what to compare, and how.
        embedder: one that is loaded already, in place of the config's.
        progress: called with (name of the side, files done, files in all); the reference is called `reference`.

    Returns:
        The figures of all systems. `facts["reference"]` and `systems[name]["summary"]` describe the sets.

    Raises:
        FileNotFoundError, ValueError: no such source, no audio in it, or fewer than two windows on a side.
        AudioError: not one file of a source could be measured. Those that could not are listed in the results.
        ConfigError: an unknown metric or embedder, or an engine that is not installed.
        MismatchError: saved statistics of another embedder.
        CheckpointError: an embedder's checkpoint or a statistics file that cannot be used.
        OSError: an output that cannot be written; this is found out before anything is measured.
    """
    metrics = metrics_named(config.metrics)
    check_shareable(config)
    _prepare_outputs(config)
    build_engine(config)  # one that is not installed is known before anything is loaded
    first = Place.now().rank == 0  # which writes the outputs
    networks = load_networks(config, metrics, embedder)
    text_encoder = load_text_encoder(config, metrics, networks)
    of_reference = _networks_of_reference(metrics, networks)
    # all of them first: one that is not there is known before anything is embedded
    real = _opened(config.reference, config.reference_where, networks)
    generated = [_opened(source, config.generated_where, networks) for source in config.sources]
    reference = _side("reference", config.reference, real, config, of_reference, progress)
    if config.save_statistics is not None and first:
        reference.sets["embedder"].statistics.save(Path(config.save_statistics).expanduser())
    systems = [
        _side(name, source, opened, config, networks, progress)
        for name, source, opened in zip(config.system_names(), config.sources, generated, strict=True)
    ]
    table = _table(config, metrics, networks, text_encoder, reference, systems)
    if first:
        sources = {side.name: side.source for side in (reference, *systems) if side.source is not None}
        _write_outputs(config, table, sources)
    return table


def embed_share(config: EvaluateConfig, *, embedder: Embedder | None = None) -> None:
    """Embeds the share of this process, one of several that torchrun or srun started, and measures nothing.

    Process 0 calls `evaluate`, which waits for what the others embed, and does what those leave that die.

    Args:
        config: as of `evaluate`; its cache is what the processes share.
        embedder: as of `evaluate`.

    Raises:
        ConfigError: there is no cache; and what `evaluate` raises.
    """
    metrics = metrics_named(config.metrics)
    check_shareable(config)
    networks = load_networks(config, metrics, embedder)
    sides = [(config.reference, config.reference_where, _networks_of_reference(metrics, networks))]
    sides += [(source, config.generated_where, networks) for source in config.sources]
    for source, where, wanted in sides:
        opened = _opened(source, where, networks)
        if opened is None:
            continue
        for network in {id(network): network for network in wanted.values()}.values():
            work = Gathering(opened, config, network.embedder, choice=network.choice)
            work.share(source).work(work.engine, work.make_worker, wait=False)


def _networks_of_reference(metrics: Sequence[Metric], networks: dict[Role, Network]) -> dict[Role, Network]:
    looked_at = {"embedder", *(metric.role for metric in metrics if metric.reference)}
    return {role: network for role, network in networks.items() if role in looked_at}


def _prepare_outputs(config: EvaluateConfig) -> None:
    if config.html is not None:
        check_report_packages("an HTML page")
    for target in (config.output, config.save_statistics, config.csv, config.html):
        if target is not None:
            prepare_output_file(target)
    if config.cache_dir is not None:
        prepare_output(config.cache_dir)


def _write_outputs(config: EvaluateConfig, table: ResultsTable, sources: Mapping[str, Source]) -> None:
    with rescued("evaluation.json", lambda: json_text(table.to_dict())):
        if config.output is not None:
            write_json(Path(config.output).expanduser(), table.to_dict())
        if config.csv is not None:
            write_text(Path(config.csv).expanduser(), evaluation_csv(table))
        if config.html is not None:
            page = evaluation_page(table, sources, config.num_players, config.player_s)
            page.write(Path(config.html).expanduser())


def _opened(source: str, where: dict[str, Any], networks: dict[Role, Network]) -> Source | None:
    """Opens a source of audio; None for saved statistics."""
    if source.endswith(STATISTICS_SUFFIX):
        return None
    return open_source(source, where or None, networks["embedder"].embedder.device)


def _side(
    name: str,
    source: str,
    opened: Source | None,
    config: EvaluateConfig,
    networks: dict[Role, Network],
    progress: Progress | None,
) -> _Side:
    """Embeds a source with every network, or reads its statistics."""
    if opened is None:
        saved, summary = load_statistics(source, networks["embedder"].embedder)
        return _Side(name=name, source=None, summary=summary, sets={"embedder": saved})
    side = _Side(name=name, source=opened, summary=SideSummary(source=source), sets={})
    done: dict[int, EmbeddedSet] = {}  # by network: one may have several roles
    for role, network in networks.items():
        if id(network) not in done:
            report = None if progress is None else partial(progress, name)
            found, summary = gather(opened, source, config, network.embedder, choice=network.choice, report=report)
            done[id(network)] = found
            if role == "embedder":
                side.summary = summary
        side.sets[role] = done[id(network)]
    return side


def _table(
    config: EvaluateConfig,
    metrics: Sequence[Metric],
    networks: dict[Role, Network],
    text_encoder: ClapTextEncoder | None,
    reference: _Side,
    systems: Sequence[_Side],
) -> ResultsTable:
    """Measures every system by every metric."""
    table = ResultsTable(schema=SCHEMA, resampling=_resampling(config))
    of_sets = any(metric.reference and not metric.paired for metric in metrics)  # figures that few windows bias
    counted = networks["embedder"].embedder if of_sets else None
    table.warnings += side_warnings("reference", reference.summary, counted)
    for side in systems:
        name = side.name if len(systems) > 1 else "generated"
        table.systems[side.name] = {"summary": asdict(side.summary)}
        table.warnings += side_warnings(name, side.summary, counted)
        texts = {} if side.source is None else find_texts(side.source.items, config.text_column)
        for metric in metrics:
            of_reference, of_system = (each.sets.get(metric.role, NOTHING) for each in (reference, side))
            inputs = Inputs(
                reference=of_reference,
                system=of_system,
                network=networks[metric.role].embedder,
                texts=texts,
                text_encoder=text_encoder,
                seed=config.seed,
            )
            add_metric(table, side.name, metric, inputs)
            if metric.paired:
                table.warnings += unpaired_warnings(metric.name, name, of_system, of_reference)
        found = {figure: table.estimate(side.name, figure) for figure in table.figures}
        table.warnings += [f"{name}: {figure}: {one.note}" for figure, one in found.items() if one.value is None]
    _check(table)
    table.settle()
    table.warnings = list(dict.fromkeys(table.warnings))
    table.facts = _facts(config, networks, reference, systems, table)
    return table


def _resampling(config: EvaluateConfig) -> Resampling:
    """Intervals are centred about the figure: they say what as many other files would give."""
    return Resampling(
        num_resamples=config.bootstrap,
        num_set_resamples=config.bootstrap,
        confidence=config.confidence,
        centre=True,
        min_files=MIN_FILES,
        seed=config.seed,
    )


def _check(table: ResultsTable) -> None:
    """Raises ValueError where a single figure of a single system has no value."""
    if len(table.systems) == len(table.figures) == 1:
        found = table.estimate(next(iter(table.systems)), table.metric)
        if found.value is None:
            raise ValueError(found.note)


def _facts(
    config: EvaluateConfig,
    networks: dict[Role, Network],
    reference: _Side,
    systems: Sequence[_Side],
    table: ResultsTable,
) -> dict[str, Any]:
    """Returns the JSON without the systems; `metric` to `generated` describe the first metric and system."""
    network = networks["embedder"].embedder
    return {
        "metric": table.metric,
        "value": table.value,
        "embedder": network.identity(),
        "weights": network.source,
        "reference": asdict(reference.summary),
        "generated": asdict(systems[0].summary),
        "networks": {role: other.embedder.identity() for role, other in networks.items() if role != "embedder"},
        "settings": config_to_dict(config),
        "version": __version__,
    }
