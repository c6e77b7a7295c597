"""What an evaluation is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from ....core.errors import ConfigError

STATISTICS_SUFFIX = ".safetensors"
MIN_RESAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class RayConfig:
    """How `engine: ray` spreads the embedding."""

    address: str | None = None  # of a running cluster, or auto; null starts Ray on this machine for the run
    num_workers: int | None = None  # actors, each with an embedder; null: as many as the cluster has room for
    cpus_per_worker: float = 1.0
    gpus_per_worker: float = 0.0  # a fraction shares a GPU


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """A set of real audio, one or several systems' audio, and how to compare them.

    A source is an audio file, a folder, a manifest, a dataset that `latentune encode` wrote (decoded by its tokenizer)
    or statistics saved before (.safetensors).
    """

    reference: str  # source of real audio
    generated: str  # source of the first system, which the others are compared with
    systems: tuple[str, ...] = ()  # sources of further systems
    names: tuple[str, ...] = ()  # of the systems, in order; by default the last part of each source
    metrics: tuple[str, ...] = ("fad",)  # see evaluation/metrics.py; the first is the result's `value`
    embedder: str = "auto"  # see metrics/embedders/load.py; auto: clap where a checkpoint is given, else musicnn
    clap_checkpoint: str | None = None  # laion-clap .pt, folder or hub id in transformers' format, owner/name/file.pt
    checkpoint: str | None = None  # of an embedder other than clap that ships no weights
    clap_tokenizer: str | None = None  # folder or tokenizer.json, where the checkpoint's own cannot be had
    classifier: str = "auto"  # embedder whose class posteriors kl compares; auto: the embedder if it classifies
    reference_where: dict[str, Any] = field(default_factory=dict)  # of a manifest, the rows with these values
    generated_where: dict[str, Any] = field(default_factory=dict)  # the same of every system
    text_column: str = "text"  # a manifest's column of prompts, for clap-score
    max_files: int | None = None  # of each side, spread evenly over the files by name; by default all
    max_duration_s: float | None = None  # measured of each file, from its start
    batch_size: int = 16  # windows at a time; the result does not depend on it beyond float32 rounding
    num_threads: int = 2  # that decode audio while the network works; 0: none
    bootstrap: int = 200  # resamplings of the files for intervals and significance; 0: none
    confidence: float = 0.95  # of the intervals
    seed: int = 0  # of all resampling
    save_statistics: str | None = None  # keep the reference's statistics in this .safetensors file
    output: str | None = None  # JSON file for the result
    csv: str | None = None  # table, a row a system
    html: str | None = None  # page with plots, spectrograms and players
    num_players: int = 4  # files of each system on the page
    player_s: float = 10.0  # of each of them
    cache_dir: str | None = None  # folder that keeps embeddings by the audio's content; null: none
    cache_gb: float = 10.0  # the longest unused embeddings beyond this are deleted
    engine: Literal["local", "ray"] = "local"
    ray: RayConfig = field(default_factory=RayConfig)
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("max_files", "max_duration_s", "batch_size", "player_s", "cache_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        for name in ("num_threads", "bootstrap", "num_players", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if 0 < self.bootstrap < MIN_RESAMPLES:
            raise ConfigError(f"bootstrap must be 0 or at least {MIN_RESAMPLES}, got {self.bootstrap}")
        if not 0 < self.confidence < 1:
            raise ConfigError(f"confidence must lie between 0 and 1, got {self.confidence}")
        if not self.metrics:
            raise ConfigError("metrics is empty: name at least one, such as fad")
        if self.save_statistics is not None:
            if not self.save_statistics.endswith(STATISTICS_SUFFIX):
                raise ConfigError(f"save_statistics must end in {STATISTICS_SUFFIX}, got {self.save_statistics!r}")
            if self.reference.endswith(STATISTICS_SUFFIX):
                raise ConfigError("the reference is saved statistics already: leave out save_statistics")
        self.system_names()

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources of all systems."""
        return (self.generated, *self.systems)

    def system_names(self) -> tuple[str, ...]:
        """A name for each system; raises ConfigError where they are not one each, or not different."""
        if self.names and len(self.names) != len(self.sources):
            raise ConfigError(f"{len(self.names)} names for {len(self.sources)} systems: give one each, or none")
        names = self.names or tuple(_short_names(self.sources))
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two systems are called {name!r}: give every system a name of its own with names")
        return names


def _short_names(sources: tuple[str, ...]) -> list[str]:
    """The last part of each source; two where one is not enough, and so on."""
    parts = [source.replace("\\", "/").rstrip("/").split("/") for source in sources]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-count:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return list(sources)
