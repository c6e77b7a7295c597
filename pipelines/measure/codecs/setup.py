"""What every experiment begins with: the codec, the files, the embedder, and what the result says of them."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

from ....core.config import config_to_dict
from ....core.device import pick_device
from ....tokenizers.base import STREAMS, AudioTokenizer, Stream
from ....tokenizers.inputs import check_decode_options
from ....tokenizers.load import load_tokenizer
from ...data.audio.find import AudioItem, find_distinct_audio
from ..embedders import Embedder, load_embedder
from ..results import MIN_FILES, few, silence_warning
from ..sets.sources import choose_items
from .codec_result import ReconstructionResult
from .config import NO_EMBEDDER, ExperimentConfig


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The parts of one run."""

    config: ExperimentConfig
    tokenizer: AudioTokenizer
    items: list[AudioItem]
    streams: tuple[Stream, ...]
    embedder: Embedder | None

    @classmethod
    def of(
        cls, config: ExperimentConfig, tokenizer: AudioTokenizer | None = None, *, embedder: Embedder | None = None
    ) -> Setup:
        """Load what the config names; a tokenizer or embedder loaded before takes the place of its own.

        Raises:
            FileNotFoundError, ValueError: no such audio or none in it, or tokens of a codec that has none.
            ConfigError, CheckpointError: no such codec or embedder, or an option that decoding does not have.
        """
        found: list[Any] = find_distinct_audio(config.audio, where=config.where or None)
        items: list[Any] = choose_items(found, config.max_files)
        device = pick_device(config.device)
        tokenizer = (tokenizer if tokenizer is not None else load_tokenizer(config.tokenizer)).to(device).eval()
        check_decode_options(tokenizer, config.options)
        if embedder is None and config.embedder != NO_EMBEDDER:
            embedder = load_embedder(config.embedder, checkpoint=config.checkpoint, device=device)
        has = STREAMS if tokenizer.spec.levels else ("latents",)
        if missing := [name for name in config.streams if name not in has]:
            raise ValueError(f"this {tokenizer.spec.name} has no {missing[0]} (no quantiser): measure its latents")
        streams: Any = config.streams or has
        return cls(config=config, tokenizer=tokenizer, items=items, streams=streams, embedder=embedder)

    def decode_takes(self, option: str) -> bool:
        """Whether the codec's `decode` has an option of that name."""
        return option in signature(self.tokenizer.decode).parameters

    def facts(self, result: ReconstructionResult) -> dict[str, Any]:
        """What the JSON says beside the table."""
        frechet = None if result.frechet is None else {k: v for k, v in result.frechet.items() if k != "values"}
        return {
            "config": config_to_dict(self.config),
            "codec": result.codec,
            "frechet": frechet,
            "models": result.models,
            "num_files": _num_files(result),
            "absent_figures": result.absent_figures,
            "undefined": result.undefined,
            "silent": result.silent,
            "failures": result.failures,
        }

    def title(self, result: ReconstructionResult, *, intervals: bool = True) -> str:
        """Over a plot, which may draw intervals."""
        drawn = f", {self.config.confidence:.0%} intervals" if intervals else ""
        return f"{self.tokenizer.spec.name}: means over {_num_files(result)} files{drawn}"

    def warnings(self, result: ReconstructionResult) -> list[str]:
        """What makes the figures unreliable, in sentences."""
        lines = [f"{name}: not measured, {reason}" for name, reason in result.absent_figures.items()]
        lines += [f"left out: {one['path']}: {one['reason']}" for one in result.failures]
        if result.silent:
            lines.append(silence_warning(result.silent))
        lines += _undefined_lines(result)
        if (num_files := _num_files(result)) < MIN_FILES:
            lines.append(f"an interval over files tells little below {MIN_FILES} of them, there are {num_files}")
        if self.embedder is not None and result.frechet is not None:
            lines += _frechet_lines(result.frechet, self.embedder.dim)
        return lines


def _num_files(result: ReconstructionResult) -> int:
    return len({row["file"] for row in result.rows})


def _undefined_lines(result: ReconstructionResult) -> list[str]:
    """Which figures which files have no value for, a line a reason."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for one in result.undefined:
        figures, files = found.setdefault(one["reason"], ({}, {}))
        figures[one["figure"]] = files[one["file"]] = None
    return [
        f"{', '.join(figures)}: no value for {few(list(files))}: {reason}" for reason, (figures, files) in found.items()
    ]


def _frechet_lines(frechet: dict[str, Any], dim: int) -> list[str]:
    name, windows = frechet["metric"], frechet["num_windows"]
    if windows < 2:
        return [f"{name}: not measured, the files give {windows} windows and a distance needs at least 2"]
    if windows < 2 * dim:
        return [
            f"{name}: {windows} windows are fewer than twice the {dim} dimensions of an embedding: compare it only "
            "with distances on as many windows"
        ]
    return []
