"""Audio to embeddings: a worker for any engine, that batches windows of several files.

Shape letters: N samples, W windows, E embeddings per window, D their width.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from ....core.device import Precision, pick_device
from ....core.errors import AudioError
from ....core.read_ahead import read_ahead
from ...data.audio.concerns import concerns_of
from ...data.audio.convert import resample, select_channels
from ...engines import Worker
from ..embedders import Embedder, load_embedder
from .cache import Embedded, EmbeddingCache
from .sources import Source, SourceItem

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EmbedderChoice:
    """Which embedder to load, for processes that have none yet."""

    name: str
    checkpoint: str | None = None
    overlap: float | None = None  # of its windows; None: its own
    precision: Precision = "fp32"

    def load(self, device: str) -> Embedder:
        """The embedder on a device; raises what `load_embedder` raises."""
        return load_embedder(
            self.name,
            checkpoint=self.checkpoint,
            device=pick_device(device),
            overlap=self.overlap,
            precision=self.precision,
        )


@dataclass(kw_only=True)
class FileEmbedding:
    """The embeddings of one item, or the reason why there are none."""

    item: SourceItem
    found: Embedded | None = None
    failure: str = ""
    concerns: tuple[str, ...] = ()  # what is odd about its audio
    cached: bool = False


@dataclass(kw_only=True)
class PreparedFile:
    """An item that has been read."""

    result: FileEmbedding
    windows: Tensor | None = None  # the network's input [W, ...]; None where the result stands already
    key: str | None = None  # to keep the embeddings under
    repeated: bool = False
    silent: bool = False


@dataclass(kw_only=True)
class _Open:
    """A file whose embeddings are not all there yet."""

    file: PreparedFile
    missing: int  # embeddings
    parts: list[Tensor] = field(default_factory=list)


def make_embed_worker(
    device: str, *, source: Source, embedder: Embedder | EmbedderChoice, **settings: Any
) -> EmbedWorker:
    """Returns a worker.

    Args:
        device: of an embedder that is only named, and of the codec of its source.
        source: of the items.
        embedder: which embeds them, or which one to load.
        **settings: of `EmbedWorker`.
    """
    if isinstance(embedder, EmbedderChoice):
        source.to(pick_device(device))
        embedder = embedder.load(device)
    return EmbedWorker(source, embedder, **settings)


class EmbedWorker(Worker[list[SourceItem], FileEmbedding]):
    """Reads items of a source and embeds them.

    Args:
        source: of the items.
        embedder: which embeds them.
        max_duration_s: of each item, from its start.
        batch_size: windows that are embedded at once.
        num_threads: prepare items ahead, also those of the next task; with 0 each item is prepared in its turn.
        cache: look here first, and keep here what is made.
    """

    def __init__(
        self,
        source: Source,
        embedder: Embedder,
        *,
        max_duration_s: float | None = None,
        batch_size: int = 16,
        num_threads: int = 2,
        cache: EmbeddingCache | None = None,
    ):
        self.source, self.embedder, self.cache = source, embedder, cache
        self.max_duration_s, self.batch_size, self.num_threads = max_duration_s, batch_size, num_threads

    def work(self, tasks: Iterator[list[SourceItem]]) -> Iterator[FileEmbedding]:
        """Yields the embeddings of each item; the items of one task share batches."""
        sizes: deque[int] = deque()

        def items() -> Iterator[SourceItem]:
            for task in tasks:
                sizes.append(len(task))
                yield from task

        num_threads = self.num_threads
        with closing(read_ahead(self.prepare, items(), num_threads=num_threads, num_ahead=num_threads + 1)) as prepared:
            for first in prepared:
                yield from self.finish(chain([first], islice(prepared, sizes.popleft() - 1)))

    def prepare(self, item: SourceItem) -> PreparedFile:
        """Reads, mixes to mono, resamples and cuts into windows; the result says why an item cannot be read."""
        result, embedder = FileEmbedding(item=item), self.embedder
        try:
            key = None
            if self.cache is not None:
                content = self.source.content_hash(item)
                key = self.cache.key(content, embedder.identity(), self.max_duration_s)
                result.found = self.cache.get(key)
                if result.found is not None:
                    result.cached = True
                    return PreparedFile(result=result)
            audio, rate = self.source.read(item, self.max_duration_s)
            result.concerns = tuple(concerns_of(audio, rate))
            mono = resample(select_channels(audio, 1), rate, embedder.sample_rate)[0]
            embedder.check(mono)
            windows = embedder.overlapping_windows(mono)
        except (AudioError, ValueError) as error:
            result.failure = str(error)
            return PreparedFile(result=result)
        return PreparedFile(
            result=result,
            windows=windows,
            key=key,
            repeated=len(mono) < embedder.window_samples,
            silent=not bool(mono.any()),
        )

    def finish(self, prepared: Iterator[PreparedFile]) -> Iterator[FileEmbedding]:
        """Embeds windows of several files at a time."""
        files: deque[_Open] = deque()
        pending: list[Tensor] = []
        for one in prepared:
            num_windows = 0 if one.windows is None else len(one.windows)
            files.append(_Open(file=one, missing=num_windows * self.embedder.embeddings_per_window))
            if one.windows is not None:
                pending.append(one.windows)
                one.windows = None  # `pending` holds them now, and lets them go piece by piece
                yield from self._embed_whole(files, pending, self.batch_size)
            yield from self._complete(files)
        yield from self._embed_whole(files, pending, 1)

    def _embed_whole(self, files: deque[_Open], pending: list[Tensor], least: int) -> Iterator[FileEmbedding]:
        """Embed batches for as long as at least `least` windows wait; yield the files that this completes."""
        while sum(map(len, pending)) >= least:
            whole = pending[0] if len(pending) == 1 else torch.cat(pending)
            pending[:] = [whole[self.batch_size :]] if len(whole) > self.batch_size else []
            self._assign(files, whole[: self.batch_size])
            yield from self._complete(files)

    def _assign(self, files: deque[_Open], batch: Tensor) -> None:
        embeddings, begin = self.embedder.embed_windows(batch), 0
        for one in files:
            end = min(begin + one.missing, len(embeddings))
            if end > begin:
                one.parts.append(embeddings[begin:end])
                one.missing -= end - begin
            begin = end

    def _complete(self, files: deque[_Open]) -> Iterator[FileEmbedding]:
        """The results of the foremost files, as far as all their windows are embedded."""
        while files and not files[0].missing:
            one = files.popleft()
            result = one.file.result
            if one.parts:
                self._settle(one, torch.cat(one.parts))
            yield result

    def _settle(self, one: _Open, embeddings: Tensor) -> None:
        """Writes the embeddings of a file to its result, and to the cache; those of absurd values are a failure."""
        result = one.file.result
        if not torch.isfinite(embeddings).all():
            result.failure = f"embeddings hold NaN or inf: {', '.join(result.concerns) or 'no reason is known'}"
            return
        result.found = Embedded(embeddings=embeddings.numpy(), repeated=one.file.repeated, silent=one.file.silent)
        if self.cache is not None and one.file.key is not None:
            self.cache.put(one.file.key, result.found)
