"""All figures of a codec's reconstructions, per file, in means with intervals and over bins of lengths."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..encode import pick_device
from ..metrics.codec import FileMetric, evaluate_tokenizer, original
from ..metrics.codec_result import KEYS, ReconstructionResult
from ..metrics.speech import SpeechMetrics
from ..metrics.speech_models import load_opinion_predictor, load_speaker, load_transcriber
from .config import ExperimentConfig
from .plots import lengths_png
from .result import ExperimentResult
from .setup import Setup

DRAWN = ("mel_distance", "stft_distance", "si_sdr_db", "pesq_wb", "stoi", "wer")  # over lengths, as TAAE's A.6


def reconstruction_experiment(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ExperimentResult:
    """`reconstruct` as an experiment: a row a file and system; means and bins of lengths are in the JSON."""
    config, result = setup.config, reconstruct(setup, progress)
    options: dict[str, Any] = {"confidence": config.confidence, "seed": config.seed}
    by_length = result.by_length(config.length_edges_s, **options)
    drawn = [name for name in DRAWN if name in result.figures]
    return ExperimentResult(
        name="reconstruction",
        columns=(*KEYS, *result.figures),
        rows=result.rows,
        facts=setup.facts(result)
        | {"summary": result.summary(**options), "by_length": by_length, "frechet": result.frechet},
        warnings=setup.warnings(result),
        draw=partial(lengths_png, bins=by_length, figures=drawn, title=setup.tokenizer.spec.name) if drawn else None,
    )


def reconstruct(setup: Setup, progress: Callable[[int, int], None] | None = None) -> ReconstructionResult:
    """Measure every figure of the config on every file, by each stream.

    With speech models the originals themselves are a system too (`original`): its word error rate and opinion score
    are what a perfect codec would reach.

    Raises:
        AudioError: no file could be read.
        CheckpointError, ImportError: a speech model that cannot be loaded.
    """
    config = setup.config
    speech = speech_metrics(config)
    return evaluate_tokenizer(
        setup.tokenizer,
        setup.items,
        streams=setup.streams,
        options={"": config.options},
        baselines={"original": original} if speech else None,
        figures=config.figures,
        metrics=speech,
        embedder=setup.embedder,
        seed=config.seed,
        max_duration_s=config.max_duration_s,
        progress=progress,
    )


def speech_metrics(config: ExperimentConfig) -> list[FileMetric]:
    """The speech figures that the config asks for, their models loaded; empty for none."""
    if config.transcriber is None and config.speaker is None and not config.opinion:
        return []
    device = pick_device(config.device)
    return [
        SpeechMetrics(
            transcriber=None
            if config.transcriber is None
            else load_transcriber(config.transcriber, language=config.language, device=device),
            speaker=None if config.speaker is None else load_speaker(config.speaker, device=device),
            opinion=load_opinion_predictor(device=device) if config.opinion else None,
            language=config.language,
            text=config.text,
        )
    ]
