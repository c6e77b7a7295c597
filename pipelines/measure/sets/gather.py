"""A source to an `EmbeddedSet`, by whichever engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from ....core.errors import AudioError
from ....core.processes import Place
from ...data.audio.concerns import Concerns
from ...data.audio.find import choose_items, left_out
from ...engines import build_engine
from ..embedders import Embedder
from ..metrics.frechet import GaussianStatistics, check_comparable
from .cache import EmbeddingCache
from .config import EvaluateConfig
from .embed import EmbedderChoice, FileEmbedding, make_embed_worker
from .sets import EmbeddedSet, SetBuilder, SideSummary
from .share import SharedTasks
from .sources import Source

logger = logging.getLogger(__name__)

FILES_PER_TASK = 16  # that share batches; the same for every engine, so that all give the same
Report = Callable[[int, int], object]  # files done, files in all


class Gathering:
    """The audio of a source that is embedded.

    Args:
        source: of the audio.
        config: how much of it is embedded, by which engine, and whether embeddings are kept.
        embedder: which embeds it.
        choice: how other processes load the embedder; None sends them this one.
    """

    def __init__(
        self, source: Source, config: EvaluateConfig, embedder: Embedder, *, choice: EmbedderChoice | None = None
    ):
        self.config, self.embedder = config, embedder
        self.items = choose_items(source.items, config.max_files)
        self.cache = None if config.cache_dir is None else EmbeddingCache(config.cache_dir)
        self.engine = build_engine(config)
        self.make_worker = partial(
            make_embed_worker,
            source=source,
            embedder=choice if self.engine.remote and choice is not None else embedder,
            max_duration_s=config.max_duration_s,
            batch_size=config.batch_size,
            num_threads=config.num_threads,
            cache=self.cache,
        )
        self.tasks = [self.items[begin : begin + FILES_PER_TASK] for begin in range(0, len(self.items), FILES_PER_TASK)]

    def share(self, name: str) -> SharedTasks:
        """Returns the tasks for several processes that have the same cache; `name` is that of the source."""
        assert self.cache is not None, "check_shareable was called"
        names = [item.name for item in self.items]
        facts = [name, names, self.embedder.identity(), self.config.max_duration_s, self.config.batch_size]
        return SharedTasks(self.cache.folder, facts, self.tasks)

    def results(self) -> Iterator[FileEmbedding]:
        """Yields the embeddings of each item, in order."""
        return self.engine.run(self.make_worker, self.tasks)


def gather(
    source: Source,
    name: str,
    config: EvaluateConfig,
    embedder: Embedder,
    *,
    choice: EmbedderChoice | None = None,
    report: Report | None = None,
) -> tuple[EmbeddedSet, SideSummary]:
    """Embeds the audio of a source; processes that torchrun or srun started together share the work through a cache.

    Args:
        source: of the audio.
        name: of the source, for the summary and messages.
        config: how much of it is embedded, by which engine, and whether embeddings are kept.
        embedder: which embeds it.
        choice: how other processes load the embedder; None sends them this one.
        report: called with (files done, files in all).

    Returns:
        The embeddings, and how much audio they are of.

    Raises:
        AudioError: not one file could be measured. Those that could not are listed in the summary.
        ValueError: fewer than two windows of audio.
    """
    work, place = Gathering(source, config, embedder, choice=choice), Place.now()
    items, cache = work.items, work.cache
    # without a cache nothing is shared: a training measures in its main process alone
    shared = work.share(name) if place.count > 1 and cache is not None else None
    if shared is not None:
        shared.work(work.engine, work.make_worker, wait=True)
    summary = SideSummary(source=name)
    concerns = Concerns()
    with closing(SetBuilder()) as builder:
        for done, result in enumerate(work.results(), start=1):
            concerns.add(result.item.name, result.concerns)
            _take_in(result, builder, summary)
            if report is not None:
                report(done, len(items))
        if not summary.num_files:
            first = "; first: {path}: {reason}".format(**summary.failures[0]) if summary.failures else ""
            raise AudioError(f"none of {len(items)} audio files of {name} could be measured{first}")
        concerns.log()
        found = builder.build(GaussianStatistics.empty(embedder.dim, embedder.identity()))
    summary.num_windows = found.statistics.num
    if summary.num_windows < 2:
        raise ValueError(f"{name} gives {summary.num_windows} window of audio, a distance needs at least 2: add files")
    if shared is not None and place.rank == 0:
        shared.forget()
    if cache is not None and place.rank == 0:
        cache.prune(config.cache_gb * 1e9)
    return found, summary


def _take_in(result: FileEmbedding, builder: SetBuilder, summary: SideSummary) -> None:
    if result.found is None:
        summary.failures.append(left_out(result.item.path, result.failure))
        return
    summary.num_files += 1
    summary.num_repeated += result.found.repeated
    summary.num_silent += result.found.silent
    builder.add(result.item.name, result.item.index, result.found)


def load_statistics(path: str, embedder: Embedder) -> tuple[EmbeddedSet, SideSummary]:
    """Statistics saved before.

    Raises:
        CheckpointError: no statistics there.
        MismatchError: another embedder's.
    """
    saved = GaussianStatistics.load(Path(path).expanduser())
    check_comparable(saved, GaussianStatistics.empty(embedder.dim, embedder.identity()))
    return EmbeddedSet(statistics=saved), SideSummary(source=path, num_windows=saved.num)
