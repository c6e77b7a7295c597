"""The config of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ....core.config import option
from ....core.device import Precision
from ....core.errors import ConfigError
from ...engines import EngineConfig
from ..windows import DEFAULT_OVERLAP, check_overlap

STATISTICS_SUFFIX = ".safetensors"
MIN_RESAMPLES = 20


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(EngineConfig):
    """A set of real audio, one or several systems' audio, and how to compare them.

    A source is an audio file, a folder, a manifest, a dataset that `latentune encode` wrote (decoded by its tokenizer)
    or statistics saved before (.safetensors).
    """

    reference: str = option(
        help="Real audio: a file, folder, manifest, dataset, or statistics that were saved before.", positional=True
    )
    generated: str = option(
        help="Audio of the first system, in any of these forms; later systems are compared with it.", positional=True
    )
    systems: tuple[str, ...] = option((), "Audio of further systems.", positional=True)
    names: tuple[str, ...] = option(
        (), "Name of a system, in order; repeat it. By default the last part of each path.", name="name"
    )
    metrics: tuple[str, ...] = option(
        ("fad",),
        "What to measure: fad, fad-inf, fad-per-file, kad, kid, prdc, kl, kl-marginal, audio-similarity or "
        "clap-score; repeat it, or separate names by commas.",
        name="metric",
        short="m",
        commas=True,
    )
    embedder: str = option(
        "auto",
        "Embedder of the audio; `latentune list embedders` shows the names. Auto takes musicnn, or clap if "
        "clap_checkpoint is given.",
    )
    clap_checkpoint: str | None = option(
        None,
        "Weights of CLAP: a laion-clap .pt file, a folder in transformers' format, a hub id of either, or one of "
        "music, audio and speech for the files that its authors recommend. By default CLAP takes music (2.4 GB to "
        "fetch).",
    )
    checkpoint: str | None = option(None, "Weights of another embedder that ships without any.")
    clap_tokenizer: str | None = option(
        None, "Folder or tokenizer.json of the text tokenizer, where the checkpoint has none."
    )
    classifier: str = option(
        "auto", "Embedder whose class probabilities kl compares. Auto takes the embedder if it has classes."
    )
    reference_where: dict[str, Any] = option(
        factory=dict, help="Values that a row of the reference manifest must have."
    )
    generated_where: dict[str, Any] = option(factory=dict, help="Values that a row of a system's manifest must have.")
    text_column: str = option("text", "Column of a manifest that holds the prompt, for clap-score.")
    max_files: int | None = option(None, "Largest number of files per set, spread evenly over the files by name.")
    max_duration_s: float | None = option(None, "Number of seconds measured from the start of each file.")
    window_overlap: float = option(
        DEFAULT_OVERLAP,
        "Least overlap of neighboring windows of an embedder, as a share of a window; they cover a file whole. At 0 "
        "they lie end to end, as in most published figures, and what is left over behind the last one is not heard.",
    )
    precision: Precision = option(
        "fp32",
        "Number format in which embedders compute: fp32, bf16, fp16 (on a GPU), or auto, which is bf16 on a GPU that "
        "has it. Half precision is faster and changes figures a little, so that figures of different formats are not "
        "compared.",
    )
    batch_size: int = option(16, "Number of windows per batch. It changes results by float32 rounding only.")
    num_threads: int = option(2, "Number of threads that decode audio in the background.")
    bootstrap: int = option(200, "Number of resamplings of the files for intervals and significance; 0 turns them off.")
    confidence: float = option(0.95, "Confidence level of the intervals.")
    seed: int = option(0, "Seed of all resampling.")
    save_statistics: str | None = option(None, "File (.safetensors) to save the statistics of the reference to.")
    output: str | None = option(None, "JSON file for the result.", short="o")
    csv: str | None = option(None, "CSV file for the table, one row per system.")
    html: str | None = option(None, "HTML page with plots, spectrograms and players.")
    num_players: int = option(4, "Number of files of each system on the page.")
    player_s: float = option(10.0, "Seconds of each file on the page.")
    cache_dir: str | None = option(
        None, "Folder that keeps embeddings by the content of the audio. By default nothing is kept.", name="cache"
    )
    cache_gb: float = option(10.0, "Size of that folder in GB; the embeddings that were unused longest are deleted.")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("max_files", "max_duration_s", "batch_size", "player_s", "cache_gb"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        for name in ("num_threads", "bootstrap", "num_players", "seed"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")
        if 0 < self.bootstrap < MIN_RESAMPLES:
            raise ConfigError(f"bootstrap must be 0 or at least {MIN_RESAMPLES}, got {self.bootstrap}")
        check_overlap(self.window_overlap)
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
