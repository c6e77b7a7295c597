"""Figures of a codec's reconstructions: files through systems, one row of results per system, file and figure.

Shape letters: C channels, N samples.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....core.errors import AudioError
from ....tokenizers.base import STREAMS, AudioTokenizer, Stream
from ...data.audio.concerns import Concerns
from ...data.audio.find import find_distinct_audio, left_out
from ...data.audio.item import AudioItem
from ..embedders.base import Embedder
from ..results import Resampling, ResultsTable
from .audio import ReadAudio, read_reference
from .figures.borders import SEAM_WINDOW_S
from .figures.catalog import SEAM_FIGURE, SIGNAL_FIGURES, SPEED_FIGURES, check_figures, split_available
from .figures.common import Undefined
from .frechet import ReconstructionSets
from .lengths import SECONDS
from .metrics import Case, Metric, catalog_metrics
from .references import UNTRAINED
from .systems import CodecSystems, Reconstruction, System

logger = logging.getLogger(__name__)

SCHEMA = "latentune-reconstruction-2"
# Figures that are ratios: weighted by their denominator, the mean over files is the ratio of the means
WEIGHTS = {"wer": "num_words", "cer": "num_characters", "other_own_ratio": "own_mel_distance"}
Progress = Callable[[int, int], None]  # (files done, files in all)


def evaluate_tokenizer(
    tokenizer: AudioTokenizer,
    source: str | Path | Sequence[AudioItem],
    *,
    streams: Sequence[Stream] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    baselines: Mapping[str, System] | None = None,
    untrained: AudioTokenizer | None = None,
    figures: Sequence[str] = SIGNAL_FIGURES,
    metrics: Sequence[Metric] = (),
    embedder: Embedder | None = None,
    seed: int = 0,
    max_duration_s: float | None = None,
    resampling: Resampling | None = None,
    progress: Progress | None = None,
) -> ResultsTable:
    """Measures files and their reconstructions, for every stream and set of decoding options.

    Args:
        tokenizer: the codec.
        source: a file, folder or manifest, of which each file is measured once, or items found before.
        streams: by default all that the codec has.
        options: label -> options of `decode`, such as `{"1 step": {"steps": 1}}`; by default one set, the codec's own.
            A system is called by stream and label: `latents, 1 step`.
        baselines: further systems by name, such as `{"silence": silence}`; see also `references.reference_systems`.
        untrained: a codec of the same kind with random weights; measured as `untrained` with the first options.
        figures: names out of `catalog.ALL_FIGURES`; those that cannot be measured are listed in the table's facts.
        metrics: further figures of every file, such as `SpeechMetrics`.
        embedder: also measures the Fréchet distance of each system's reconstructions to the originals.
        seed: of the decoder's noise.
        max_duration_s: measure at most this much of each file, from its start.
        resampling: how intervals are computed.
        progress: called with (files done, files in all).

    Returns:
        The table; its facts hold `codec` (rates, and how the tokens use their codebooks) and those of
        `evaluate_systems`.

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
        extra[UNTRAINED] = CodecSystems(untrained, seed).system("latents", **next(iter(sets.values())))
    if both := systems.keys() & extra.keys():
        raise ValueError(f"two systems are called {sorted(both)[0]!r}: rename the baseline")
    table = evaluate_systems(
        {**systems, **extra},
        find_distinct_audio(source) if isinstance(source, (str, Path)) else source,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        chunk=(spec.chunk_samples, int(getattr(tokenizer, "lead_samples", 0))),
        figures=figures,
        metrics=metrics,
        embedder=embedder,
        max_duration_s=max_duration_s,
        resampling=resampling,
        progress=progress,
    )
    table.facts["codec"] = codec.facts()
    return table


def evaluate_systems(
    systems: Mapping[str, System],
    items: Sequence[AudioItem],
    *,
    sample_rate: int,
    channels: int,
    chunk: tuple[int, int] | None = None,
    figures: Sequence[str] = SIGNAL_FIGURES,
    metrics: Sequence[Metric] = (),
    embedder: Embedder | None = None,
    max_duration_s: float | None = None,
    resampling: Resampling | None = None,
    progress: Progress | None = None,
) -> ResultsTable:
    """Measures every file and its reconstruction by each system, at one rate and channel count.

    Args:
        systems: by name.
        items: the files.
        sample_rate: in Hz, at which systems run and figures are measured.
        channels: C, of all audio.
        chunk: (chunk_samples, lead_samples) of the codec, for `seam_db`.
        figures: as of `evaluate_tokenizer`.
        metrics: as of `evaluate_tokenizer`.
        embedder: as of `evaluate_tokenizer`.
        max_duration_s: as of `evaluate_tokenizer`.
        resampling: as of `evaluate_tokenizer`.
        progress: as of `evaluate_tokenizer`.

    Returns:
        The table. Each file has a row `seconds`; a row without a value has the reason as its note. `failures` lists the
        files that could not be read. Facts: `silent` (files of digital silence), `absent_figures` (figure -> reason),
        `models` (figure -> model), `num_files`, and with an embedder `frechet` (its figure, identity and windows).

    Raises:
        AudioError: no file could be read.
        ValueError: no system; an unknown figure.
        TypeError: a system that changes the shape of the audio.
    """
    if not systems:
        raise ValueError("no system to measure: give at least one")

    concerns = Concerns()

    def read(item: AudioItem, concerns: Concerns | None = None) -> Tensor:
        return read_reference(item, sample_rate, channels, max_duration_s, concerns)

    available, absent = split_available(check_figures(figures))
    if SEAM_FIGURE in available and (chunk is None or chunk[0] <= SEAM_WINDOW_S * sample_rate):
        absent[SEAM_FIGURE] = "the system has no chunks that are longer than a frame of 8 ms"
    for name, reason in absent.items():
        logger.warning("%s is not measured: %s", name, reason)
    chosen = [
        *catalog_metrics([n for n in available if n not in absent], items=items, read=read, chunk=chunk),
        *metrics,
    ]
    table = ResultsTable(schema=SCHEMA, resampling=resampling or Resampling())
    for metric in chosen:
        table.figures |= metric.facts
    models = {name: facts.model for name, facts in table.figures.items() if facts.model}
    table.facts = {"silent": [], "absent_figures": absent, "models": models}
    gathered: AbstractContextManager[ReconstructionSets | None] = (
        nullcontext() if embedder is None else closing(ReconstructionSets(embedder))
    )
    with gathered as sets:
        once = partial(read, concerns=concerns)  # metrics may read a file again
        _measure_files(table, systems, items, once, sample_rate, chosen, sets, progress)
        concerns.log()
        if not table.rows:
            first = "; first: {path}: {reason}".format(**table.failures[0]) if table.failures else ""
            raise AudioError(f"none of {len(items)} audio files could be measured{first}")
        if sets is not None:
            sets.add_to(table)
    table.facts["num_files"] = len(table.files)
    return table


def _measure_files(
    table: ResultsTable,
    systems: Mapping[str, System],
    items: Sequence[AudioItem],
    read: ReadAudio,
    sample_rate: int,
    metrics: Sequence[Metric],
    sets: ReconstructionSets | None,
    progress: Progress | None,
) -> None:
    """Fills the table and the sets, file by file."""
    for done, item in enumerate(items, start=1):
        try:
            audio = read(item)
            made_by = {name: _run(name, system, item, audio, sample_rate) for name, system in systems.items()}
            if sets is not None:
                sets.add_reference(audio, sample_rate)
        except (AudioError, ValueError) as error:
            table.failures.append(left_out(item.path, error))
        else:
            if not audio.any():
                table.facts["silent"].append(item.name)
            for name, made in made_by.items():
                case = Case(item=item, system=name, reference=audio, made=made, sample_rate=sample_rate)
                _add_rows(table, case, metrics)
                if sets is not None:
                    sets.add(name, item.name, made.audio, sample_rate)
        if progress is not None:
            progress(done, len(items))


def _run(name: str, system: System, item: AudioItem, audio: Tensor, sample_rate: int) -> Reconstruction:
    with torch.no_grad():
        found = system(audio, sample_rate)
    if not isinstance(found, Reconstruction):
        found = Reconstruction(audio=found.detach().float().cpu())
    estimate = found.audio
    if estimate.shape != audio.shape:
        raise TypeError(
            f"system {name!r} made audio {tuple(estimate.shape)} of {item.name} with shape {tuple(audio.shape)}: "
            "it must keep the shape"
        )
    if not torch.isfinite(estimate).all():
        raise AudioError(f"{item.path}: system {name!r} makes NaN or inf of it")
    return found


def _add_rows(table: ResultsTable, case: Case, metrics: Sequence[Metric]) -> None:
    """Measures one file under one system; a figure without a value is a row with its reason."""
    table.add(case.system, case.item.name, SECONDS, case.reference.shape[-1] / case.sample_rate)
    for metric in metrics:
        found = metric.measure(case)
        for figure, value in found.items():
            weight = float(found.get(WEIGHTS.get(figure, "")) or 1.0)
            note = str(value) if isinstance(value, Undefined) else ""
            table.add(case.system, case.item.name, figure, None if note else value, weight=weight, note=note)
