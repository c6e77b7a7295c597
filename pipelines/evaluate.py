"""The Fréchet distance of generated audio to real audio: what `latentune evaluate` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..tokenizers.parts.errors import AudioError, ConfigError
from ..tokenizers.parts.files import write_json
from .audio.convert import resample, select_channels
from .audio.find import AudioItem, find_audio
from .audio.read import read_audio
from .encode import pick_device
from .metrics.codec import ReconstructionResult, evaluate_systems, evaluate_tokenizer, silence
from .metrics.embedders import Embedder, load_embedder
from .metrics.frechet import GaussianStatistics, check_comparable, frechet_distance
from .outputs import prepare_output

logger = logging.getLogger(__name__)

STATISTICS_SUFFIX = ".safetensors"

__all__ = [
    "EvaluateConfig",
    "EvaluationResult",
    "ReconstructionResult",
    "SideSummary",
    "evaluate",
    "evaluate_systems",
    "evaluate_tokenizer",
    "silence",
]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Two sets of audio and how to compare them."""

    reference: str  # file, folder or manifest of real audio, or statistics saved before (.safetensors)
    generated: str  # the same of generated audio
    embedder: Literal["auto", "musicnn", "clap"] = "auto"  # auto: clap where a checkpoint is given, else musicnn
    clap_checkpoint: str | None = None  # laion-clap .pt, folder or hub id in transformers' format, owner/name/file.pt
    reference_where: dict[str, Any] = field(default_factory=dict)  # of a manifest, the rows with these values
    generated_where: dict[str, Any] = field(default_factory=dict)
    max_files: int | None = None  # of each side, spread evenly over the files by name; by default all
    max_duration_s: float | None = None  # measured of each file, from its start
    batch_size: int = 16  # windows at a time; the result does not depend on it
    save_statistics: str | None = None  # keep the reference's statistics in this .safetensors file
    output: str | None = None  # JSON file for the result
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("max_files", "max_duration_s", "batch_size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be above 0, got {value}")
        if self.save_statistics is not None:
            if not self.save_statistics.endswith(STATISTICS_SUFFIX):
                raise ConfigError(f"save_statistics must end in {STATISTICS_SUFFIX}, got {self.save_statistics!r}")
            if self.reference.endswith(STATISTICS_SUFFIX):
                raise ConfigError("the reference is saved statistics already: leave out save_statistics")


@dataclass(kw_only=True)
class SideSummary:
    """What one of the two sets came to."""

    source: str
    num_files: int = 0  # measured; 0 where statistics were loaded
    num_windows: int = 0  # embeddings
    num_repeated: int = 0  # files shorter than one window, which were repeated to fill it
    num_silent: int = 0  # files of digital silence; they are measured
    failures: list[dict[str, str]] = field(default_factory=list)  # path, reason: left out


@dataclass(kw_only=True)
class EvaluationResult:
    """The distance and all that one must know to read it."""

    metric: str  # fad_<embedder>; values of different metrics cannot be compared
    value: float
    embedder: dict[str, Any]  # identity of the embedder
    weights: str  # where its weights came from
    reference: SideSummary
    generated: SideSummary
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    config: EvaluateConfig,
    *,
    embedder: Embedder | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> EvaluationResult:
    """Measure the Fréchet distance between the embeddings of two sets of audio.

    Args:
        embedder: one loaded before, in place of the config's.
        progress: called with (`reference` or `generated`, files done, files in all).

    Raises:
        FileNotFoundError, ValueError: no such source, no audio in it, or fewer than two windows on a side.
        AudioError: not one file of a source could be measured. Those that could not are listed in the result.
        MismatchError: saved statistics of another embedder.
        CheckpointError: an embedder's checkpoint or a statistics file that cannot be used.
        OSError: an output that cannot be written; found out before anything is measured.
    """
    for target in (config.output, config.save_statistics):
        if target is not None:
            prepare_output(Path(target).expanduser().absolute().parent)
    if embedder is None:
        device = pick_device(config.device)
        embedder = load_embedder(config.embedder, clap_checkpoint=config.clap_checkpoint, device=device)
    sides = {
        name: _side(name, embedder, config, progress) for name in ("reference", "generated")
    }  # the reference comes first: statistics of another embedder are found out at once
    (reference, real), (generated, made) = sides["reference"], sides["generated"]
    if config.save_statistics is not None:
        reference.save(Path(config.save_statistics).expanduser())
    result = EvaluationResult(
        metric=f"fad_{embedder.name}",
        value=frechet_distance(reference, generated),
        embedder=embedder.identity(),
        weights=embedder.source,
        reference=real,
        generated=made,
        warnings=_warnings({"reference": real, "generated": made}, embedder.dim),
    )
    if config.output is not None:
        write_json(Path(config.output).expanduser(), result.to_dict())
    return result


def _side(
    name: str, embedder: Embedder, config: EvaluateConfig, progress: Callable[[str, int, int], None] | None
) -> tuple[GaussianStatistics, SideSummary]:
    """Statistics and summary of the side called `name`."""
    source = getattr(config, name)
    summary = SideSummary(source=source)
    stats = GaussianStatistics.empty(embedder.dim, embedder.identity())
    if source.endswith(STATISTICS_SUFFIX):
        saved = GaussianStatistics.load(Path(source).expanduser())
        check_comparable(saved, stats)
        summary.num_windows = saved.num
        return saved, summary
    items = _choose(find_audio(source, where=getattr(config, f"{name}_where") or None), config.max_files)
    windows = _windows(
        items, embedder, config.max_duration_s, summary, lambda n: progress and progress(name, n, len(items))
    )
    for batch in _batches(windows, config.batch_size):
        stats.update(embedder.embed_windows(batch).numpy())
    if not summary.num_files:
        first = f"; first: {summary.failures[0]['reason']}" if summary.failures else ""
        raise AudioError(f"none of {len(items)} audio files of {source} could be measured{first}")
    if stats.num < 2:
        raise ValueError(f"{source} gives {stats.num} window of audio, a Fréchet distance needs at least 2: add files")
    summary.num_windows = stats.num
    return stats, summary


def _choose(items: list[AudioItem], most: int | None) -> list[AudioItem]:
    """At most `most` items, spread evenly over all of them sorted by name: their order in a manifest has no say."""
    items = sorted(items, key=lambda item: item.name)
    if most is None or most >= len(items):
        return items
    return [items[number * len(items) // most] for number in range(most)]


def _windows(
    items: list[AudioItem],
    embedder: Embedder,
    max_duration_s: float | None,
    summary: SideSummary,
    report: Callable[[int], object],
) -> Iterator[Tensor]:
    """The embedder's windows [W, ...] of each file that can be read; the others are noted in `summary`."""
    for done, item in enumerate(items, start=1):
        try:
            audio, rate = read_audio(item.path, duration_s=max_duration_s)
            mono = resample(select_channels(audio, 1, "mono"), rate, embedder.sample_rate)[0]
            embedder.check(mono)
        except (AudioError, ValueError) as error:
            logger.warning("left out: %s: %s", item.path, error)
            summary.failures.append({"path": str(item.path), "reason": str(error)})
        else:
            summary.num_files += 1
            summary.num_repeated += len(mono) < embedder.window_samples
            summary.num_silent += not bool(mono.any())
            yield embedder.windows(mono)
        report(done)


def _batches(windows: Iterator[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Windows of many files, regrouped into batches of `batch_size`; the last may be smaller."""
    pending: list[Tensor] = []
    for piece in windows:
        pending.append(piece)
        while sum(map(len, pending)) >= batch_size:
            whole = pending[0] if len(pending) == 1 else torch.cat(pending)
            yield whole[:batch_size]
            pending = [whole[batch_size:]]
    rest = [piece for piece in pending if len(piece)]
    if rest:
        yield torch.cat(rest)


def _warnings(sides: dict[str, SideSummary], dim: int) -> list[str]:
    """What makes the distance unreliable, in sentences."""
    lines = []
    for name, side in sides.items():
        if side.num_windows < 2 * dim:
            lines.append(
                f"{name}: {side.num_windows} windows are fewer than twice the {dim} dimensions of an embedding: the "
                "distance is biased upwards, compare it only with distances on as many windows"
            )
        if side.failures:
            lines.append(f"{name}: {len(side.failures)} files could not be measured and are left out")
        if side.num_silent:
            lines.append(f"{name}: {side.num_silent} of {side.num_files} files are silent")
        if side.num_repeated:
            lines.append(f"{name}: {side.num_repeated} of {side.num_files} files are shorter than a window and repeat")
    return lines
