"""What every experiment begins with: the codec, the files, the embedder, and what the result says of them."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

from ...tokenizers.base import STREAMS, AudioTokenizer, Stream
from ...tokenizers.load import load_tokenizer
from ...tokenizers.parts.config import config_to_dict
from ..audio.find import AudioItem, find_audio
from ..encode import pick_device
from ..evaluation.sources import choose_items
from ..metrics.codec_result import ReconstructionResult
from ..metrics.embedders import Embedder, load_embedder
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
            ConfigError, CheckpointError: no such codec or embedder.
        """
        found: list[Any] = find_audio(config.audio, where=config.where or None)
        items: list[Any] = choose_items(found, config.max_files)
        device = pick_device(config.device)
        tokenizer = (tokenizer if tokenizer is not None else load_tokenizer(config.tokenizer)).to(device).eval()
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
            "num_files": len({row["file"] for row in result.rows}),
            "absent_figures": result.absent_figures,
            "undefined": result.undefined,
            "failures": result.failures,
        }

    def warnings(self, result: ReconstructionResult) -> list[str]:
        """What makes the figures unreliable, in sentences."""
        lines = [f"{name}: not measured, {reason}" for name, reason in result.absent_figures.items()]
        if result.failures:
            lines.append(f"{len(result.failures)} files could not be measured and are left out")
        if result.undefined:
            lines.append(f"{len(result.undefined)} figures of files have no value: see `undefined`")
        if self.embedder is not None and result.frechet is not None:
            windows = result.frechet["num_windows"]
            if windows < 2 * self.embedder.dim:
                lines.append(
                    f"{result.frechet['metric']}: {windows} windows are fewer than twice the {self.embedder.dim} "
                    "dimensions of an embedding: compare it only with distances on as many windows"
                )
        return lines
