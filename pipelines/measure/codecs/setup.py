"""Shared by all experiments: codec, files and embedder from the config, the measurement, and its warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from typing import Any

from ....core.config import config_to_dict
from ....core.device import pick_device
from ....tokenizers.base import STREAMS, AudioTokenizer, Stream
from ....tokenizers.inputs import check_decode_options
from ....tokenizers.load import load_tokenizer
from ...data.audio.find import choose_items, find_distinct_audio
from ...data.audio.item import AudioItem
from ..embedders import Embedder, load_embedder
from ..results import MIN_FILES, Resampling, ResultsTable, few, silence_warning
from .config import NO_EMBEDDER, ExperimentConfig
from .evaluate import Progress, evaluate_tokenizer

SCHEMA = "latentune-experiment-2"


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts of one run."""

    config: ExperimentConfig
    tokenizer: AudioTokenizer
    items: list[AudioItem]
    streams: tuple[Stream, ...]
    embedder: Embedder | None
    progress: Progress | None = None  # called with (files done, files in all)

    @classmethod
    def of(
        cls,
        config: ExperimentConfig,
        tokenizer: AudioTokenizer | None = None,
        *,
        embedder: Embedder | None = None,
        progress: Progress | None = None,
    ) -> Setup:
        """Loads what the config names.

        Args:
            config: of the experiment.
            tokenizer: loaded before, in place of the config's.
            embedder: loaded before, in place of the config's.
            progress: called with (files done, files in all).

        Returns:
            The setup.

        Raises:
            FileNotFoundError, ValueError: no such audio or none in it, or tokens of a codec that has none.
            ConfigError, CheckpointError: no such codec or embedder, or an option that decoding does not have.
        """
        items = choose_items(find_distinct_audio(config.audio, where=config.where or None), config.max_files)
        device = pick_device(config.device)
        if tokenizer is None:
            tokenizer = load_tokenizer(config.tokenizer)
            config.prepare(tokenizer)
        tokenizer = tokenizer.to(device).eval()
        check_decode_options(tokenizer, config.options)
        if embedder is None and config.embedder != NO_EMBEDDER:
            embedder = load_embedder(config.embedder, checkpoint=config.checkpoint, device=device)
        has = STREAMS if tokenizer.spec.levels else ("latents",)
        if missing := [name for name in config.streams if name not in has]:
            raise ValueError(f"this {tokenizer.spec.name} has no {missing[0]} (no quantizer): measure its latents")
        streams: Any = config.streams or has
        return cls(
            config=config, tokenizer=tokenizer, items=items, streams=streams, embedder=embedder, progress=progress
        )

    def decode_takes(self, option: str) -> bool:
        """Returns whether the codec's `decode` has an option of that name."""
        return option in signature(self.tokenizer.decode).parameters

    def measure(self, options: Mapping[str, Mapping[str, Any]] | None = None, **kwargs: Any) -> ResultsTable:
        """Measures the files, with facts and warnings.

        Args:
            options: label -> options of `decode`, in addition to those of the config; by default these alone.
            kwargs: of `evaluate_tokenizer`.

        Returns:
            The table.

        Raises:
            AudioError: no file could be read.
        """
        config = self.config
        sets = {label: {**config.options, **chosen} for label, chosen in (options or {"": {}}).items()}
        table = evaluate_tokenizer(
            self.tokenizer,
            self.items,
            streams=self.streams,
            options=sets,
            seed=config.seed,
            max_duration_s=config.max_duration_s,
            resampling=Resampling(confidence=config.confidence, seed=config.seed),
            progress=self.progress,
            **kwargs,
        )
        table.schema = SCHEMA
        table.facts["config"] = config_to_dict(config)
        table.warnings += measurement_warnings(table)
        return table

    def plot_title(self, table: ResultsTable, *, intervals: bool = True) -> str:
        """Returns the title of a plot, which may draw intervals."""
        drawn = f", {self.config.confidence:.0%} intervals" if intervals else ""
        return f"{self.tokenizer.spec.name}: means over {len(table.files)} files{drawn}"

    def page_title(self, name: str) -> str:
        """Returns the title of the page of an experiment."""
        return f"{name}: {self.config.tokenizer} on {self.config.audio}"


def is_stream(system: str) -> bool:
    """Returns whether a system is a stream of the codec, with any decoding options, and not a reference system."""
    return system.partition(",")[0] in STREAMS


def measurement_warnings(table: ResultsTable) -> list[str]:
    """Returns what makes the figures of a table unreliable, in sentences."""
    lines = [f"{name}: not measured, {reason}" for name, reason in table.facts["absent_figures"].items()]
    lines += [f"left out: {one['path']}: {one['reason']}" for one in table.failures]
    if silent := table.facts["silent"]:
        lines.append(silence_warning(silent))
    lines += _undefined_lines(table)
    if (num_files := len(table.files)) < MIN_FILES:
        lines.append(f"an interval over files says little below {MIN_FILES} of them, there are {num_files}")
    return lines + frechet_warnings(table.facts.get("frechet"))


def _undefined_lines(table: ResultsTable) -> list[str]:
    """Which figures have no value for which files, one line per reason."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for one in table.undefined:
        if not is_stream(one["system"]):
            continue  # silence has no level, and the original no distance to itself: nothing to warn about
        figures, files = found.setdefault(one["reason"], ({}, {}))
        figures[one["figure"]] = files[one["file"]] = None
    return [
        f"{', '.join(figures)}: no value for {few(list(files))}: {reason}" for reason, (figures, files) in found.items()
    ]


def frechet_warnings(frechet: dict[str, Any] | None) -> list[str]:
    """Returns what makes a Fréchet distance unreliable, from its facts (see `frechet.ReconstructionSets`)."""
    if frechet is None:
        return []
    name, windows, enough, dim = (frechet[key] for key in ("metric", "num_windows", "enough_windows", "dim"))
    if windows < 2:
        return [f"{name}: not measured, the files give {windows} windows and a distance needs at least 2"]
    if windows < enough:
        return [
            f"{name}: {windows} windows are too few, {enough} are enough for the {dim} dimensions of an embedding: "
            "compare it only with distances on as many windows"
        ]
    return []
