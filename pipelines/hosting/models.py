"""The tokenizers, pipelines and datasets of a server, by names that say nothing about where they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from ...core.compute import ComputeConfig
from ...core.config import nearest_hint
from ...tokenizers.base import AudioTokenizer
from ...tokenizers.load import load_tokenizer
from ..data.shards import LatentDataset
from ..generation.load import load_pipeline
from ..generation.pipeline import GenerationPipeline

T = TypeVar("T")


class Named(Mapping[str, T]):
    """Things by name, each loaded when it is first asked for, once.

    Args:
        what: they are, in the singular, for messages.
        sources: where each one is.
        load: function from a source to the thing.

    Raises:
        ValueError: two sources that end with the same name.
    """

    def __init__(self, what: str, sources: Iterable[str], load: Callable[[str], T]):
        self.what, self._load = what, load
        self.sources: dict[str, str] = {}
        for source in sources:
            name = Path(source).name
            if self.sources.get(name, source) != source:
                raise ValueError(f"two {what}s are called {name!r}, {self.sources[name]} and {source}: rename one")
            self.sources[name] = source
        self._loaded: dict[str, T] = {}
        self._lock = threading.Lock()

    def __getitem__(self, name: str) -> T:
        if name not in self.sources:
            raise UnknownNameError(f"no {self.what} is called {name!r} here: {nearest_hint(name, self.sources)}")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(self.sources[name])
            return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.sources

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)


class UnknownNameError(ValueError, KeyError):
    """A name that the server does not have; the message has the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


class Models:
    """All that a server works with.

    Args:
        pipelines: shipped names, pipeline folders, training runs or checkpoints.
        tokenizers: shipped or official names, folders or hub ids.
        datasets: folders of `latentune encode`.
        compute: device, number format and compilation of the networks.

    Raises:
        ValueError: two of a kind that have the same name.
    """

    def __init__(
        self,
        *,
        pipelines: Iterable[str] = (),
        tokenizers: Iterable[str] = (),
        datasets: Iterable[str] = (),
        compute: ComputeConfig,
    ):
        self._compute = compute
        self.pipelines: Named[GenerationPipeline] = Named("pipeline", pipelines, self._pipeline)
        self.tokenizers: Named[AudioTokenizer] = Named("tokenizer", tokenizers, self._tokenizer)
        self._others: dict[str, AudioTokenizer] = {}  # tokenizers of datasets, by source
        self.datasets: Named[LatentDataset] = Named("dataset", datasets, LatentDataset)

    def load(self) -> None:
        """Loads all of it, so that a wrong name is known before the first request.

        Raises:
            CheckpointError, ConfigError, DatasetError: one of the sources cannot be loaded.
        """
        for named in (self.datasets, self.tokenizers, self.pipelines):
            for name in named:
                named[name]

    def tokenizer_of(self, dataset: str) -> AudioTokenizer:
        """Returns the tokenizer that a dataset names as its own; one of the server's if it is that."""
        source = str(self.datasets[dataset].info["tokenizer"]["source"])
        for name, known in self.tokenizers.sources.items():
            if known == source:
                return self.tokenizers[name]
        if source not in self._others:
            self._others[source] = self._tokenizer(source)
        return self._others[source]

    def _pipeline(self, source: str) -> GenerationPipeline:
        pipeline = load_pipeline(source)
        self._compute.prepare(pipeline.tokenizer, pipeline.generator)
        return pipeline

    def _tokenizer(self, source: str) -> AudioTokenizer:
        tokenizer = load_tokenizer(source)
        self._compute.prepare(tokenizer)
        return tokenizer


def can_stream(pipeline: GenerationPipeline) -> bool:
    """Returns whether a pipeline gives audio while it is sampled."""
    try:
        pipeline.stream()
    except ValueError:
        return False
    return True
