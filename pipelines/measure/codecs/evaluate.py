"""How well a codec gives back what it was given: files through systems, figures for each.

A system is any function from audio [C, N] and its sample rate to audio [C, N]: a codec under some options, silence, an
untrained network. Shape letters: C channels, N samples, T' token frames, Q codebooks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ....core.errors import AudioError
from ....tokenizers.base import STREAMS, AudioTokenizer, Stream
from ...data.audio.convert import resample, select_channels
from ...data.audio.find import AudioItem, find_distinct_audio, left_out
from ...data.audio.read import read_audio
from ..embedders.base import Embedder
from .codec_result import ReconstructionResult
from .figures.catalog import PAIR_FIGURES, SIGNAL_FIGURES, SPEED_FIGURES, check_figures, split_available
from .figures.common import Undefined
from .frechet import ReconstructionSets
from .systems import CodecSystems, Reconstruction, System, original, silence

logger = logging.getLogger(__name__)

__all__ = [
    "CodecSystems",
    "FileMetric",
    "Reconstruction",
    "ReconstructionResult",
    "System",
    "evaluate_files",
    "evaluate_systems",
    "evaluate_tokenizer",
    "original",
    "read_reference",
    "silence",
]


class FileMetric(Protocol):
    """Further figures of a file, such as those of speech, each with the model that makes it."""

    @property
    def models(self) -> Mapping[str, str]:
        """Figure -> the model that makes it."""
        ...

    def measure(self, item: AudioItem, reference: Tensor, estimate: Tensor, sample_rate: int) -> dict[str, Any]:
        """Figures of a file of audio [C, N]; in place of a value that it has not, the `Undefined` that says why."""
        ...


def evaluate_tokenizer(
    tokenizer: AudioTokenizer,
    source: str | Path | Sequence[AudioItem],
    *,
    streams: Sequence[Stream] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: Mapping[str, System] | None = None,
    untrained: AudioTokenizer | None = None,
    figures: Sequence[str] = SIGNAL_FIGURES,
    metrics: Sequence[FileMetric] = (),
    embedder: Embedder | None = None,
    seed: int = 0,
    max_duration_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReconstructionResult:
    """Figures of files and their reconstructions, for every stream and set of decoding options.

    Args:
        source: a file, folder or manifest, of which each file is measured once, or items found before.
        streams: by default all that the codec has.
        options: label -> options of `decode`, such as `{"1 step": {"steps": 1}}`; by default one set, the codec's own.
            A system is called by stream and label: `latents, 1 step`.
        baselines: further systems by name, such as `{"silence": silence}`.
        untrained: a codec of the same kind with random weights; measured as `untrained` with the first options.
        figures: names out of `figures.ALL_FIGURES`; those whose package is missing are listed in the result.
        metrics: further figures of every file, such as `SpeechMetrics`.
        embedder: also measure the Fréchet distance of each system's reconstructions to the originals.
        max_duration_s: measure at most this much of each file, from its start.
        progress: called with (files done, files in all).

    Raises:
        AudioError: no file could be read.
        ValueError: nothing found, two systems of one name, an unknown figure, or tokens of a codec that has none.
    """
    spec = tokenizer.spec
    sets = dict(options) if options else {"": {}}
    systems: dict[str, System] = {}
    codec = CodecSystems(tokenizer, seed, warm_up=bool(set(figures) & set(SPEED_FIGURES)))
    for stream in streams if streams is not None else (STREAMS if spec.levels else ("latents",)):
        for label, chosen in sets.items():
            systems[f"{stream}, {label}" if label else stream] = codec.system(stream, **chosen)
    extra = dict(baselines or {})
    if untrained is not None:
        extra["untrained"] = CodecSystems(untrained, seed).system("latents", **next(iter(sets.values())))
    if both := systems.keys() & extra.keys():
        raise ValueError(f"two systems are called {sorted(both)[0]!r}: rename the baseline")
    items = find_distinct_audio(source) if isinstance(source, (str, Path)) else source
    result = evaluate_systems(
        {**systems, **extra},
        items,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        figures=figures,
        metrics=metrics,
        embedder=embedder,
        max_duration_s=max_duration_s,
        progress=progress,
    )
    result.codec = codec.facts()
    return result


def evaluate_systems(
    systems: Mapping[str, System],
    items: Sequence[AudioItem],
    *,
    sample_rate: int,
    channels: int,
    figures: Sequence[str] = SIGNAL_FIGURES,
    metrics: Sequence[FileMetric] = (),
    embedder: Embedder | None = None,
    max_duration_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReconstructionResult:
    """Figures of every file and what each system makes of it, at one rate and channel count.

    Files that cannot be read are listed in `failures`, figures that a file has no value for in `undefined`.

    Args:
        figures, metrics, embedder: as of `evaluate_tokenizer`.

    Raises:
        AudioError: no file could be read.
        ValueError: no system, or one that changes the shape of the audio or gives NaN; an unknown figure.
    """

    def make(item: AudioItem) -> tuple[Tensor, Iterator[tuple[str, Reconstruction]]]:
        audio = read_reference(item, sample_rate, channels, max_duration_s)
        return audio, ((name, _run(name, system, item, audio, sample_rate)) for name, system in systems.items())

    if not systems:
        raise ValueError("no system to measure: give at least one")
    return evaluate_files(
        make, items, sample_rate, figures=figures, metrics=metrics, embedder=embedder, progress=progress
    )


Made = tuple[Tensor, Iterable[tuple[str, Reconstruction]]]  # the original [C, N], and what each system made of it


def evaluate_files(
    make: Callable[[AudioItem], Made],
    items: Sequence[AudioItem],
    sample_rate: int,
    *,
    figures: Sequence[str] = SIGNAL_FIGURES,
    metrics: Sequence[FileMetric] = (),
    embedder: Embedder | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ReconstructionResult:
    """Figures of every file, wherever its reconstructions come from.

    Args:
        make: gives a file's original and reconstructions, all of one shape; raises AudioError or ValueError for a file
            that cannot be read, which is then listed in `failures`.
        figures, metrics, embedder, progress: as of `evaluate_tokenizer`.

    Raises:
        AudioError: no file could be read.
        ValueError: an unknown figure.
    """
    chosen, absent = split_available(check_figures(figures))
    for name, reason in absent.items():
        logger.warning("%s is not measured: %s", name, reason)
    models = {figure: model for metric in metrics for figure, model in metric.models.items()}
    result = ReconstructionResult(figures=(*chosen, *models), absent_figures=absent, models=models)
    gathered: AbstractContextManager[ReconstructionSets | None] = (
        nullcontext() if embedder is None else closing(ReconstructionSets(embedder))
    )
    with gathered as sets:
        _measure_files(result, make, items, sample_rate, chosen, metrics, sets, progress)
        if not result.rows:
            first = "; first: {path}: {reason}".format(**result.failures[0]) if result.failures else ""
            raise AudioError(f"none of {len(items)} audio files could be measured{first}")
        if sets is not None:
            result.frechet, result.frechet_of_files = sets.to_dict(), sets.of_files()
    return result


def _measure_files(
    result: ReconstructionResult,
    make: Callable[[AudioItem], Made],
    items: Sequence[AudioItem],
    sample_rate: int,
    figures: Sequence[str],
    metrics: Sequence[FileMetric],
    sets: ReconstructionSets | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Fill the result's rows and the sets, file by file."""
    for done, item in enumerate(items, start=1):
        try:
            audio, made = make(item)
        except (AudioError, ValueError) as error:
            result.failures.append(left_out(item.path, error))
        else:
            if not audio.any():
                result.silent.append(item.name)
            if sets is not None:
                sets.add_reference(audio, sample_rate)
            for name, found in made:
                _add_row(result, name, item, audio, found, sample_rate, figures, metrics)
                if sets is not None:
                    sets.add(name, found.audio, sample_rate)
        if progress is not None:
            progress(done, len(items))


def read_reference(item: AudioItem, sample_rate: int, channels: int, max_duration_s: float | None) -> Tensor:
    """A file as audio [C, N] at a rate and channel count.

    Raises:
        AudioError: it cannot be read, or holds NaN.
        ValueError: its channels cannot be converted.
    """
    audio, rate = read_audio(item.path, duration_s=max_duration_s)
    if not torch.isfinite(audio).all():
        raise AudioError(f"{item.path}: holds NaN or inf")
    return resample(select_channels(audio, channels), rate, sample_rate)


def _run(name: str, system: System, item: AudioItem, audio: Tensor, sample_rate: int) -> Reconstruction:
    with torch.no_grad():
        found = system(audio, sample_rate)
    if not isinstance(found, Reconstruction):
        found = Reconstruction(audio=found.detach().float().cpu())
    estimate = found.audio
    if estimate.shape != audio.shape or not torch.isfinite(estimate).all():
        raise ValueError(
            f"system {name!r} made audio {tuple(estimate.shape)} of {item.name} with shape {tuple(audio.shape)}: "
            "it must keep the shape and give no NaN"
        )
    return found


def _add_row(
    result: ReconstructionResult,
    name: str,
    item: AudioItem,
    audio: Tensor,
    found: Reconstruction,
    sample_rate: int,
    figures: Sequence[str],
    metrics: Sequence[FileMetric],
) -> None:
    """Measure one file under one system; what has no value is None, with a note."""
    seconds = audio.shape[-1] / sample_rate
    row: dict[str, Any] = {"system": name, "file": item.name, "seconds": seconds}
    for figure in figures:
        if figure in SPEED_FIGURES:
            spent = found.encode_s if figure == "encode_rtf" else found.decode_s
            row[figure] = None if spent is None else spent / seconds
        else:
            try:
                row[figure] = PAIR_FIGURES[figure].measure(audio, found.audio, sample_rate)
            except Undefined as error:
                row[figure] = error
    for metric in metrics:
        row |= metric.measure(item, audio, found.audio, sample_rate)
    for figure, value in row.items():
        if isinstance(value, Undefined):
            result.undefined.append({"system": name, "file": item.name, "figure": figure, "reason": str(value)})
            row[figure] = None
    result.rows.append(row)
